//! The routes and what stands around them: compression, security headers, metrics, a stop that does not hang.

use crate::assets::{self, Assets};
use crate::error::ApiError;
use crate::feed::Feed;
use crate::guard::{self, Gate};
use crate::lookup::{self, Finder};
use crate::page::{ASK, Pages};
use crate::status::Board;
use crate::{LookupSource, Options, RowSource, StatusSource, api, stream};
use axum::Router;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
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
    pub(crate) finder: Arc<Finder>,
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

/// Whom the pages ask.
pub struct Sources {
    /// For rows.
    pub rows: Arc<dyn RowSource>,
    /// For figures, if anybody knows them.
    pub status: Option<Arc<dyn StatusSource>>,
    /// For where an event is, if anybody knows that.
    pub lookup: Option<Arc<dyn LookupSource>>,
}

/// Serves on `listener` until `shutdown`. `extra` holds the routes that every role has: health and metrics.
pub async fn run(
    options: Options,
    sources: Sources,
    listener: TcpListener,
    extra: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let app = app(&options, sources, shutdown.clone()).merge(extra);
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

/// The routes, testable without a socket. Needs a tokio runtime: the reader of new rows and the keeper of the history start
/// here and end with `shutdown`.
pub fn app(options: &Options, sources: Sources, shutdown: CancellationToken) -> Router {
    let assets = Assets::load();
    let board = Arc::new(Board::new(sources.status));
    tokio::spawn(board.clone().remember(shutdown.clone()));
    let web = Web {
        pages: Arc::new(Pages::render(options, &assets.version)),
        assets,
        feed: Feed::start(sources.rows, shutdown),
        board,
        finder: Arc::new(Finder::new(sources.lookup)),
        seats: Arc::new(Semaphore::new(STREAMS_MAX)),
        started: Instant::now(),
    };
    let router = Router::new()
        .route("/", get(table_page))
        .route("/status", get(status_page))
        .route("/lookup", get(lookup_page))
        .route("/manual/{chapter}", get(manual_page))
        .route("/assets/{version}/{file}", get(assets::asset))
        .route("/api/rows", get(api::rows))
        .route("/api/stream", get(stream::stream))
        .route("/api/status", get(api::status))
        .route("/api/history", get(api::history))
        .route("/api/lookup", get(lookup::lookup))
        .fallback(async || ApiError::NotFound);
    let router = match Gate::new(&options.guard) {
        Some(gate) => router.layer(middleware::from_fn_with_state(gate, guard::ask)),
        None => router,
    };
    let router = router
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

async fn lookup_page(State(web): State<Web>, headers: HeaderMap) -> Response {
    web.pages.lookup.answer(&headers, ASK)
}

async fn manual_page(
    State(web): State<Web>,
    Path(chapter): Path<String>,
    headers: HeaderMap,
) -> Response {
    match web.pages.manual.get(chapter.as_str()) {
        Some(document) => document.answer(&headers, ASK),
        None => ApiError::NotFound.into_response(),
    }
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
