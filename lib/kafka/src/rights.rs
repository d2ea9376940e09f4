//! What a client may do with a topic.

use std::collections::BTreeSet;
use std::fmt;

/// Something that may be allowed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Operation {
    /// Reading its records.
    Read,
    /// Appending records.
    Write,
    /// Giving it more partitions.
    Alter,
    /// Seeing that it is there.
    Describe,
    /// Seeing its settings.
    DescribeConfigs,
}

/// All that is allowed, of what is of interest here.
pub type Rights = BTreeSet<Operation>;

impl fmt::Display for Operation {
    /// As Kafka's access lists call it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Alter => "Alter",
            Self::Describe => "Describe",
            Self::DescribeConfigs => "DescribeConfigs",
        })
    }
}
