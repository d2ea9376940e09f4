//! The little of HTTP that tests need: fetch a page, follow a stream of events.

use std::io::BufRead;
use std::time::Duration;

use anyhow::{Context, Result};
use ureq::http::Response;
use ureq::{Agent, Body};

const GET_TIMEOUT: Duration = Duration::from_secs(30);

/// Fetches `url`. A status of failure is an answer, not an error.
pub fn get(url: &str) -> Result<Response<String>> {
    let (parts, mut body) = request(url, &[], GET_TIMEOUT)?.into_parts();
    let text = body
        .read_to_string()
        .with_context(|| format!("{url} broke off"))?;
    Ok(Response::from_parts(parts, text))
}

/// The sum of a role's metric over its labels, of the lines that hold `label`; not of another whose name begins alike. `url`: where its `/metrics` are.
pub fn metric(url: &str, name: &str, label: &str) -> Result<f64> {
    let body = get(&format!("{url}/metrics"))?.into_body();
    let is_it = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([' ', '{'])) && line.contains(label)
    };
    let lines = body.lines().filter(is_it);
    let values = lines.map(|line| {
        let value = line.rsplit(' ').next().context("a value")?;
        Ok(value.parse::<f64>()?)
    });
    values.sum()
}

/// Opens `url` with the given headers for reading line by line; reading fails when `within` is over.
/// For server-sent events.
pub fn open(
    url: &str,
    headers: &[(&str, &str)],
    within: Duration,
) -> Result<Response<impl BufRead + use<>>> {
    let response = request(url, headers, within)?;
    Ok(response.map(|body| std::io::BufReader::new(body.into_reader())))
}

fn request(url: &str, headers: &[(&str, &str)], within: Duration) -> Result<Response<Body>> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(within))
        .build()
        .into();
    let mut request = agent.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
        .call()
        .with_context(|| format!("no answer from {url}"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

    /// Serves one connection: reads the request's head, writes `answer`, hands head and connection over.
    fn serve_once(answer: &'static str) -> (String, thread::JoinHandle<(String, TcpStream)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/page", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let head: Vec<String> = BufReader::new(connection.try_clone().unwrap())
                .lines()
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .collect();
            connection.write_all(answer.as_bytes()).unwrap();
            (head.join("\n"), connection)
        });
        (url, server)
    }

    #[test]
    fn get_returns_status_headers_and_body_of_a_failure_too() {
        let (url, server) = serve_once(
            "HTTP/1.1 404 Not Found\r\nx-why: gone\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        );
        let response = get(&url).unwrap();
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["x-why"], "gone");
        assert_eq!(response.body(), "hello");
        assert!(server.join().unwrap().0.starts_with("GET /page "));
    }

    #[test]
    fn open_reads_as_it_comes_sends_headers_and_has_a_bound() {
        let (url, server) = serve_once("HTTP/1.1 200 OK\r\n\r\nid: 1\ndata: x\n\n");
        let mut response = open(
            &url,
            &[("last-event-id", "7-0")],
            Duration::from_millis(500),
        )
        .unwrap();
        let mut line = String::new();
        response.body_mut().read_line(&mut line).unwrap();
        assert_eq!(line, "id: 1\n");
        let (head, connection) = server.join().unwrap();
        assert!(head.contains("last-event-id: 7-0"), "{head}");
        // The connection stays open and silent: reading to the end must fail in time.
        assert!(response.body_mut().read_to_string(&mut line).is_err());
        drop(connection);
    }

    #[test]
    fn nobody_there_is_an_error_that_names_the_url() {
        let port = crate::free_port().unwrap();
        let url = format!("http://127.0.0.1:{port}/");
        assert!(get(&url).unwrap_err().to_string().contains(&url));
    }
}
