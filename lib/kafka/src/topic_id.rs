//! A topic's UUID (KIP-516), and what may be done with it (KIP-430), for which rdkafka has no safe calls.

#![allow(unsafe_code)]

use crate::rights::{Operation, Rights};
use rdkafka_sys as sys;
use rtf_proto::TopicId;
use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

/// What the broker says of a topic.
pub(crate) enum Described {
    /// It exists.
    Topic {
        /// Its UUID; zeros where the broker has none.
        id: TopicId,
        /// Number of partitions.
        partitions: u32,
        /// What may be done with it; empty unless it was asked for, `None` where the broker does not say.
        rights: Option<Rights>,
    },
    /// It does not.
    Unknown,
    /// Not even that may be asked.
    Forbidden,
}

/// Why nothing is known of it.
pub(crate) enum Silence {
    /// Nobody answered in time.
    TimedOut(String),
    /// Anything else.
    Failed(String),
}

impl From<String> for Silence {
    fn from(words: String) -> Self {
        Self::Failed(words)
    }
}

/// Whether the broker is asked for rights too: that costs it a look at its access lists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Only what the topic is.
    Topic,
    /// What may be done with it as well.
    Rights,
}

/// Frees a C object when the scope ends, whichever way.
struct Guard<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: each guard is made from a pointer its own destructor accepts, and is its only owner.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// Asks the broker behind `client` about a topic. `client` must be a live `rd_kafka_t`.
pub(crate) fn describe(
    client: *mut sys::rd_kafka_t,
    topic: &str,
    timeout: Duration,
    asked: Asked,
) -> Result<Described, Silence> {
    let name = CString::new(topic).map_err(|e| e.to_string())?;
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: librdkafka's documented sequence for DescribeTopics; every object is guarded, and what is read from
    // the result is read while its event lives.
    unsafe {
        let mut names = [name.as_ptr()];
        let topics = Guard(
            sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1),
            sys::rd_kafka_TopicCollection_destroy,
        );
        let queue = Guard(sys::rd_kafka_queue_new(client), sys::rd_kafka_queue_destroy);
        let options = Guard(
            sys::rd_kafka_AdminOptions_new(
                client,
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            sys::rd_kafka_AdminOptions_destroy,
        );
        let mut words = [0; 256];
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options.0,
            millis,
            words.as_mut_ptr(),
            words.len(),
        );
        // It has nothing against a plain yes or no.
        let refused = sys::rd_kafka_AdminOptions_set_include_authorized_operations(
            options.0,
            i32::from(asked == Asked::Rights),
        );
        drop(Guard(refused, sys::rd_kafka_error_destroy));
        sys::rd_kafka_DescribeTopics(client, topics.0, options.0, queue.0);
        // The request's own time-out comes first; the second is for a client that cannot even send it.
        let event = Guard(
            sys::rd_kafka_queue_poll(queue.0, millis.saturating_add(1000)),
            sys::rd_kafka_event_destroy,
        );
        if event.0.is_null() {
            return Err(Silence::TimedOut("no answer in time".into()));
        }
        match sys::rd_kafka_event_error(event.0) {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            code => {
                let words = text(sys::rd_kafka_event_error_string(event.0));
                return Err(match code {
                    sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT => {
                        Silence::TimedOut(words)
                    }
                    _ => Silence::Failed(words),
                });
            }
        }
        let mut count = 0;
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if count != 1 {
            return Err(format!("{count} topics described where one was asked for").into());
        }
        Ok(read(*described)?)
    }
}

/// # Safety
/// `description` must be alive.
unsafe fn read(description: *const sys::rd_kafka_TopicDescription_t) -> Result<Described, String> {
    // SAFETY: accessors of a live description; the UUID is copied.
    unsafe {
        let error = sys::rd_kafka_TopicDescription_error(description);
        match sys::rd_kafka_error_code(error) {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC => {
                return Ok(Described::Unknown);
            }
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => {
                return Ok(Described::Forbidden);
            }
            _ => return Err(text(sys::rd_kafka_error_string(error))),
        }
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(description, &mut partitions);
        let uuid = sys::rd_kafka_TopicDescription_topic_id(description);
        let id = if uuid.is_null() {
            TopicId::default()
        } else {
            topic_id(uuid)
        };
        Ok(Described::Topic {
            id,
            partitions: u32::try_from(partitions).unwrap_or(u32::MAX),
            rights: rights(description),
        })
    }
}

/// # Safety
/// `description` must be alive.
unsafe fn rights(description: *const sys::rd_kafka_TopicDescription_t) -> Option<Rights> {
    use sys::rd_kafka_AclOperation_t as Native;
    let mut count = 0;
    // SAFETY: the list lives as long as the description, and has `count` elements.
    let operations = unsafe {
        let first = sys::rd_kafka_TopicDescription_authorized_operations(description, &mut count);
        if first.is_null() {
            return None;
        }
        std::slice::from_raw_parts(first, count)
    };
    let known = |operation: &Native| match operation {
        Native::RD_KAFKA_ACL_OPERATION_READ => Some(Operation::Read),
        Native::RD_KAFKA_ACL_OPERATION_WRITE => Some(Operation::Write),
        Native::RD_KAFKA_ACL_OPERATION_ALTER => Some(Operation::Alter),
        Native::RD_KAFKA_ACL_OPERATION_DESCRIBE => Some(Operation::Describe),
        Native::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Some(Operation::DescribeConfigs),
        _ => None,
    };
    Some(operations.iter().filter_map(known).collect())
}

/// # Safety
/// `uuid` must be alive.
unsafe fn topic_id(uuid: *const sys::rd_kafka_Uuid_t) -> TopicId {
    // SAFETY: plain accessors.
    let (most, least) = unsafe {
        (
            sys::rd_kafka_Uuid_most_significant_bits(uuid),
            sys::rd_kafka_Uuid_least_significant_bits(uuid),
        )
    };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&most.to_be_bytes());
    bytes[8..].copy_from_slice(&least.to_be_bytes());
    TopicId(bytes)
}

/// # Safety
/// `text` must be null or a C string.
unsafe fn text(text: *const std::ffi::c_char) -> String {
    if ptr::eq(text, ptr::null()) {
        return "no words".into();
    }
    // SAFETY: as demanded of the caller.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
