//! What the environment says of a runtime, over what the program says.
//!
//! | variable | what it sets |
//! | --- | --- |
//! | `GIMMAL_DRIVER` | [`Builder::driver`]: `auto`, `ring` or `fallback` |
//! | `GIMMAL_ENTRIES` | [`Builder::entries`] |
//! | `GIMMAL_CQ_ENTRIES` | [`Builder::cq_entries`] |
//! | `GIMMAL_BUFFERS` | [`Builder::buffers`] |
//! | `GIMMAL_WITHOUT` | [`Builder::without`]: names of features, with commas between |
//!
//! Tests read `GIMMAL_SEED` and `GIMMAL_SEEDS`, too: see `testing/seeds.rs`.

use std::io;

use super::{Builder, Choice, invalid};
use crate::driver::setup::Feature;

impl Builder {
    pub(super) fn read_environment(&mut self) -> io::Result<()> {
        if let Some(name) = variable("GIMMAL_DRIVER") {
            let choice = match name.as_str() {
                "auto" => Choice::Auto,
                "ring" => Choice::Ring,
                "fallback" => Choice::Fallback,
                _ => return Err(invalid(format!("GIMMAL_DRIVER={name}: it is one of auto, ring, fallback"))),
            };
            if !self.insists {
                self.choice = choice;
            }
        }
        if let Some(entries) = number("GIMMAL_ENTRIES")? {
            self.entries = entries;
        }
        if let Some(entries) = number("GIMMAL_CQ_ENTRIES")? {
            self.cq_entries = Some(entries);
        }
        if let Some(buffers) = number("GIMMAL_BUFFERS")? {
            self.buffers = usize::try_from(buffers).unwrap_or(usize::MAX);
        }
        for name in variable("GIMMAL_WITHOUT").iter().flat_map(|names| names.split(',')).filter(|name| !name.is_empty())
        {
            match Feature::named(name) {
                Some(feature) => self.features.remove(feature),
                None => {
                    let known: Vec<&str> = Feature::ALL.into_iter().map(Feature::name).collect();
                    return Err(invalid(format!("GIMMAL_WITHOUT={name}: the features are {}", known.join(", "))));
                }
            }
        }
        Ok(())
    }
}

/// The variables that [`Builder::build`] reads.
const VARIABLES: [&str; 5] =
    ["GIMMAL_DRIVER", "GIMMAL_ENTRIES", "GIMMAL_CQ_ENTRIES", "GIMMAL_BUFFERS", "GIMMAL_WITHOUT"];

/// What the environment overrides.
pub(crate) fn overrides() -> Vec<(String, String)> {
    VARIABLES.iter().filter_map(|name| Some((name.to_string(), variable(name)?))).collect()
}

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn number(name: &str) -> io::Result<Option<u32>> {
    variable(name)
        .map(|value| value.parse().map_err(|_| invalid(format!("{name}={value}: it is a number of 32 bits"))))
        .transpose()
}
