//! The routes and what stands around them: compression, security headers, metrics, a stop that does not hang.

use crate::assets::{self, Assets};
use crate::error::ApiError;
use crate::feed::Feed;
use crate::page::{ASK, Pages};
use crate::status::Board;
use crate::{Options, RowSource, StatusSource, api, stream};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;

/// Streams that may be open at once.
const STREAMS_MAX: usize = 1000;
/// Requests under way may take this long after the stop; then they are cut.
const DRAIN: Duration = Duration::from_secs(3);
/// Everything from this server, nothing written into the page, no framing.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) feed: Feed,
    pub(crate) board: Arc<Board>,
    pub(crate) assets: Arc<Assets>,
    pub(crate) pages: Arc<Pages>,
    /// One permit for each stream that may still be opened.
    pub(crate) seats: Arc<Semaphore>,
    pub(crate) started: Instant,
}

impl Web {
    /// Streams that are open.
    pub(crate) fn clients(&self) -> usize {
        STREAMS_MAX - self.seats.available_permits()
    }
}

/// Serves on `listener` until `shutdown`. `extra` holds the routes that every role has: health and metrics.
pub async fn run(
    options: Options,
    source: Arc<dyn RowSource>,
    status: Option<Arc<dyn StatusSource>>,
    listener: TcpListener,
    extra: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let app = app(&options, source, status, shutdown.clone()).merge(extra);
    let stop = shutdown.clone();
    let server = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
    tokio::select! {
        served = server.into_future() => served,
        () = out_of_patience(shutdown) => Ok(()),
    }
}

async fn out_of_patience(shutdown: CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN).await;
}

/// The routes, testable without a socket. Needs a tokio runtime: the reader of new rows starts here and ends with
/// `shutdown`.
pub fn app(
    options: &Options,
    source: Arc<dyn RowSource>,
    status: Option<Arc<dyn StatusSource>>,
    shutdown: CancellationToken,
) -> Router {
    let assets = Assets::load();
    let web = Web {
        pages: Arc::new(Pages::render(options, &assets.version)),
        assets,
        feed: Feed::start(source, shutdown),
        board: Arc::new(Board::new(status)),
        seats: Arc::new(Semaphore::new(STREAMS_MAX)),
        started: Instant::now(),
    };
    let router = Router::new()
        .route("/", get(table_page))
        .route("/status", get(status_page))
        .route("/assets/{version}/{file}", get(assets::asset))
        .route("/api/rows", get(api::rows))
        .route("/api/stream", get(stream::stream))
        .route("/api/status", get(api::status))
        .fallback(async || ApiError::NotFound)
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn(count));
    secured(router).with_state(web)
}

fn secured(router: Router<Web>) -> Router<Web> {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    headers.into_iter().fold(router, |router, (name, value)| {
        router.layer(SetResponseHeaderLayer::overriding(
            name,
            HeaderValue::from_static(value),
        ))
    })
}

async fn table_page(State(web): State<Web>, headers: HeaderMap) -> Response {
    web.pages.table.answer(&headers, ASK)
}

async fn status_page(State(web): State<Web>, headers: HeaderMap) -> Response {
    web.pages.status.answer(&headers, ASK)
}

/// Counts by route, not by address: addresses come from outside and have no bound.
async fn count(request: Request, next: Next) -> Response {
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    let path = path.unwrap_or_else(|| "other".to_owned());
    let status = response.status().as_u16().to_string();
    metrics::counter!("rtf_web_requests_total", "path" => path, "status" => status).increment(1);
    response
}
