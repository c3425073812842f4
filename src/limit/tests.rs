//! All limits of a request together.
