//! A proxy.
