//! The log, on stderr.

use log::{Level, Log, Metadata, Record};

/// Logs from this level on, or what RUST_LOG says wherever it is set.
pub fn start(level: &str) {
    let environment = env_logger::Env::default().default_filter_or(level);
    let inner = env_logger::Builder::from_env(environment)
        .format_timestamp_millis()
        .build();
    log::set_max_level(inner.filter());
    // Fails only where there is one already.
    let _ = log::set_boxed_logger(Box::new(Logger(inner)));
}

struct Logger(env_logger::Logger);

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !is_of_a_client(record) {
            return self.0.log(record);
        }
        let metadata = Metadata::builder()
            .level(Level::Debug)
            .target(record.target())
            .build();
        if self.enabled(&metadata) {
            let mut lowered = Record::builder();
            self.0
                .log(&lowered.metadata(metadata).args(*record.args()).build());
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Whether it is about a request that the HTTP server cannot read. The server takes
/// that for an error of its own, though anybody who connects may send anything.
fn is_of_a_client(record: &Record<'_>) -> bool {
    record.level() == Level::Error
        && record.target() == "actix_http::h1::dispatcher"
        && record.args().to_string().starts_with("stream error: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_is_no_error_of_ours() {
        let of_a_client = |target: &str, text: &str| {
            let mut record = Record::builder();
            let record = record.level(Level::Error).target(target);
            is_of_a_client(&record.args(format_args!("{text}")).build())
        };
        let server = "actix_http::h1::dispatcher";
        let unreadable = "stream error: request parse error: invalid Header provided";
        assert!(of_a_client(server, unreadable));
        assert!(!of_a_client(server, "Response payload stream error: gone"));
        assert!(!of_a_client("hoiam::files", unreadable));
    }
}
