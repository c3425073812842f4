//! Route templates and the table of routes.
