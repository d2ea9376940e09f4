//! The web as a whole: its router over both stores, and the server over a socket.

mod api;
mod guard;
mod lookup;
mod pages;
mod redis;
mod serve;
mod stream;
mod support;
