//! The ports of `EXPOSE`.

use crate::error::Fault;

/// The most ports of one `EXPOSE`.
const PORTS_MAX: usize = 65535;

/// The ports of `EXPOSE`: `80`, `80/udp`, `8000-8010`. Source: docker/go-connections, nat.ParsePortSpecs.
pub(crate) fn parse(specs: &[String]) -> Result<Vec<String>, Fault> {
    let mut ports = Vec::new();
    for spec in specs.iter().flat_map(|spec| spec.split_whitespace()) {
        let fault = || {
            Fault::with_remedy(
                format!("`{spec}` is no port"),
                "write it as `80`, `53/udp` or `8000-8010`",
            )
        };
        let (range, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
            return Err(fault());
        }
        // Docker takes `8080:80` and exposes what is the container's.
        let range = range.rsplit(':').next().unwrap_or(range);
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: u16 = first.parse().map_err(|_source| fault())?;
        let last: u16 = last.parse().map_err(|_source| fault())?;
        if first > last {
            return Err(fault());
        }
        ports.extend((first..=last).map(|port| format!("{port}/{protocol}")));
        if ports.len() > PORTS_MAX {
            return Err(Fault::new("EXPOSE has more ports than there are"));
        }
    }
    Ok(ports)
}
