//! What an operator orders the reading thread to do, and what comes of it. Decides nothing.

use parking_lot::Mutex;
use rtf_proto::{Offset, PartitionId};
use std::collections::VecDeque;
use tokio::sync::oneshot;

/// Orders that wait at once; more are refused.
const ORDERS_MAX: usize = 16;

/// Why an operator's call came to nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OperatorError {
    /// It does not run, or not any more.
    #[error("the dispatcher does not run")]
    Stopped,
    /// Too many ask at once, or it waits for Kafka.
    #[error("the dispatcher is busy or waits for Kafka: ask again")]
    Busy,
    /// Positions of another topic.
    #[error("this dispatcher reads topic `{reads}`, not `{asked}`")]
    OtherTopic {
        /// Its own.
        reads: String,
        /// The one that was named.
        asked: String,
    },
    /// The broker did not take the positions.
    #[error("the positions are not committed: {0}")]
    NotCommitted(String),
}

/// What a drain leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Left {
    /// Records still in flight.
    pub in_flight: usize,
    /// Events that wait for a partner; positions are committed up to the first of them.
    pub waiting: usize,
}

/// A partition that was to be read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewound {
    /// Which.
    pub partition: PartitionId,
    /// Where it was: all below is resolved.
    pub before: Offset,
    /// Where it was to go; there it is, unless there is an error.
    pub offset: Offset,
    /// Why it is where it was.
    pub error: Option<String>,
}

/// What the reading thread is to do.
pub(crate) enum Order {
    /// Commit what is done, and say when the broker has it.
    Commit(oneshot::Sender<Result<(), OperatorError>>),
    /// Go back in these partitions, as far as they are assigned.
    Rewind(Vec<(PartitionId, Offset)>, oneshot::Sender<Vec<Rewound>>),
}

/// The orders that wait for the reading thread.
pub(crate) struct Orders(Mutex<Option<VecDeque<Order>>>);

impl Orders {
    /// None, and none are taken before [`open`](Self::open).
    pub fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// There is somebody to carry them out.
    pub fn open(&self) {
        *self.0.lock() = Some(VecDeque::new());
    }

    /// There is nobody any more; who waits hears of it.
    pub fn close(&self) {
        *self.0.lock() = None;
    }

    /// Hands one in.
    pub fn give(&self, order: Order) -> Result<(), OperatorError> {
        let mut orders = self.0.lock();
        let orders = orders.as_mut().ok_or(OperatorError::Stopped)?;
        if orders.len() >= ORDERS_MAX {
            return Err(OperatorError::Busy);
        }
        orders.push_back(order);
        Ok(())
    }

    /// The next one whose giver still waits: an order that nobody hears of any more is not carried out later, by surprise.
    pub fn take(&self) -> Option<Order> {
        let mut orders = self.0.lock();
        let orders = orders.as_mut()?;
        while let Some(order) = orders.pop_front() {
            if !order.is_given_up() {
                return Some(order);
            }
        }
        None
    }
}

impl Order {
    fn is_given_up(&self) -> bool {
        match self {
            Self::Commit(told) => told.is_closed(),
            Self::Rewind(_, told) => told.is_closed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_bounded_and_what_nobody_waits_for_is_not_done() {
        let orders = Orders::new();
        let order = || {
            let (tell, told) = oneshot::channel();
            (Order::Commit(tell), told)
        };
        assert_eq!(orders.give(order().0), Err(OperatorError::Stopped));
        orders.open();
        let (first, given_up) = order();
        let (second, waits) = order();
        orders.give(first).unwrap();
        orders.give(second).unwrap();
        drop(given_up);
        assert!(matches!(orders.take(), Some(Order::Commit(told)) if !told.is_closed()));
        assert!(orders.take().is_none());
        drop(waits);
        for _ in 0..ORDERS_MAX {
            orders.give(order().0).unwrap();
        }
        assert_eq!(orders.give(order().0), Err(OperatorError::Busy));
        orders.close();
        assert!(orders.take().is_none());
        assert_eq!(orders.give(order().0), Err(OperatorError::Stopped));
    }
}
