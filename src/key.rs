//! API keys: what a secret looks like ([`format`]), how it is stored ([`digest`]), its record ([`record`]),
//! what a record must be to be written ([`rules`]), what may become of it ([`lifecycle`]), how it is shown ([`shown`]), why it will not work here ([`hints`]),
//! where many come from ([`import`]) and go to ([`export`]), which of them a list is of ([`filter`]).

pub mod digest;
pub(crate) mod encoded;
pub mod export;
pub mod filter;
pub mod format;
pub mod hints;
pub mod import;
pub mod kind;
pub mod lifecycle;
pub mod record;
pub mod rules;
pub mod shown;
