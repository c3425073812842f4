//! API keys: what a secret looks like ([`format`]), how it is stored ([`digest`]), its record ([`record`]).
//! Pure: no store, no clock, no configuration beyond what is handed in.

pub mod digest;
pub mod format;
pub mod kind;
pub mod record;
