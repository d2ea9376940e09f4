//! The hosts of `redis.url`, which may name several: `redis://user@a:6379,b:6379/0`. Pure.

/// The URL once for each of its hosts; one that names no port gets `port`, if there is any.
pub(crate) fn urls(url: &str, port: Option<u16>) -> Vec<String> {
    let Some(parts) = Parts::of(url) else {
        return vec![url.to_owned()];
    };
    let hosts = parts.hosts().map(|host| match port {
        Some(port) if !has_port(host) => format!("{}{host}:{port}{}", parts.before, parts.after),
        _ => format!("{}{host}{}", parts.before, parts.after),
    });
    hosts.collect()
}

/// A URL around its hosts.
pub(crate) struct Parts<'a> {
    /// Scheme, user and password.
    before: &'a str,
    hosts: &'a str,
    /// The database, and parameters.
    pub(crate) after: &'a str,
}

impl<'a> Parts<'a> {
    /// `None` where there is no host: a Unix socket has a path.
    pub(crate) fn of(url: &'a str) -> Option<Self> {
        let scheme = url.find("://")? + "://".len();
        let end = url[scheme..].find(['/', '?']);
        let (url, after) = url.split_at(end.map_or(url.len(), |end| scheme + end));
        // A password may hold commas.
        let login = url.rfind('@').map_or(scheme, |at| at + 1);
        let (before, hosts) = url.split_at(login);
        let has_hosts = !hosts.is_empty();
        has_hosts.then_some(Self {
            before,
            hosts,
            after,
        })
    }

    /// At least one.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &'a str> {
        self.hosts.split(',').map(str::trim)
    }
}

/// An address of IPv6 has colons of its own, within brackets.
fn has_port(host: &str) -> bool {
    let behind_brackets = host.rsplit(']').next();
    behind_brackets.is_some_and(|host| host.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_a_url_with_all_the_rest() {
        for (url, port, each) in [
            ("redis://h:1/2", None, &["redis://h:1/2"][..]),
            (
                "rediss://u:p,@@a:1, b/0?x=y",
                Some(26379),
                &["rediss://u:p,@@a:1/0?x=y", "rediss://u:p,@@b:26379/0?x=y"],
            ),
            (
                "redis://[::1],[::2]:3",
                Some(4),
                &["redis://[::1]:4", "redis://[::2]:3"],
            ),
            ("redis://a/?x=@,", Some(4), &["redis://a:4/?x=@,"]),
            ("unix:///run/a,b", Some(4), &["unix:///run/a,b"]),
            ("nonsense", None, &["nonsense"]),
        ] {
            assert_eq!(urls(url, port), each, "{url}");
        }
    }
}
