//! Whom we trust when a URL begins with `https`.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// Reads the system's trusted roots and makes the configuration that all
/// clients of the process share. Reads files, so it is called once, at start.
///
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` point to other roots. Where the system has
/// none at all, as in a bare container, Mozilla's list is used; it is not added
/// to roots that are there, since whoever removed one from the system meant it.
///
/// Only HTTP/1.1 is offered: a callback is one small request, and one connection
/// for many of them would make a slow receiver's trouble everybody's.
///
/// # Errors
///
/// The TLS library supports no protocol version with the chosen cryptography.
pub fn system_roots() -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        log::warn!("the system has no trusted certificates: using Mozilla's list");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    with_roots(roots)
}

/// How many certificates the system trusts. With none, [`system_roots`] takes
/// Mozilla's list.
#[must_use]
pub fn trusted_by_the_system() -> usize {
    rustls_native_certs::load_native_certs().certs.len()
}

/// As [`system_roots`], trusting exactly `roots`.
///
/// # Errors
///
/// As for [`system_roots`].
pub fn with_roots(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
