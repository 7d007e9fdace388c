//! The store on the plain-copy driver, as an ordinary user.

// The modules say so themselves: clippy lets only what is marked as a test unwrap.
#[cfg(test)]
mod layers;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod model;
#[cfg(test)]
mod place;
#[cfg(test)]
mod recovery;
