//! The order in which samples are taken: random, and the same for the same seed.
//!
//! Arms that are to be compared take turns, so that whatever drifts on the machine hits all of them. Every round holds
//! each arm once, in an order of its own: an arm that always ran second would inherit the first one's caches.

use cowlab_random::Random;

/// The turns of one block at one point: `rounds` rounds, each with every arm once, in random order.
pub fn turns(random: &mut Random, arms: usize, rounds: u32) -> Vec<usize> {
    let mut turns = Vec::new();
    for _ in 0..rounds {
        let mut round: Vec<usize> = (0..arms).collect();
        random.shuffle(&mut round);
        turns.extend(round);
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_turns() {
        let draw = |seed| turns(&mut Random::stream(seed, &["copy-up", "ext4"]), 7, 5);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn every_round_holds_every_arm_once() {
        let turns = turns(&mut Random::new(1), 5, 40);
        for round in turns.chunks(5) {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn no_arm_has_a_favorite_place() {
        let turns = turns(&mut Random::new(1), 4, 4000);
        for place in 0..4 {
            let first = turns.chunks(4).filter(|round| round[place] == 0).count();
            assert!((850..1150).contains(&first), "{first} times at {place}");
        }
    }
}
