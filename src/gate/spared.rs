//! What a request was let through in spite of, for a time only: each check that is only observed and would have refused, and that its
//! credential is nobody's here. It takes no memory where there is nothing of that.

use std::borrow::Cow;

use crate::rejection::Refusal;

/// Would-be refusals, in the order of the gate.
#[derive(Debug, Default)]
pub struct Spared(Vec<Refusal>);

impl Spared {
    pub(super) fn add(&mut self, refusal: Refusal) {
        self.0.push(refusal);
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Refusal> {
        self.0.iter()
    }

    /// Their reasons, with commas between them.
    #[must_use]
    pub fn reasons(&self) -> Cow<'static, str> {
        match self.0.as_slice() {
            [] => Cow::Borrowed(""),
            [one] => Cow::Borrowed(one.rejection.row().reason),
            all => Cow::Owned(all.iter().map(|refusal| refusal.rejection.row().reason).collect::<Vec<_>>().join(",")),
        }
    }

    /// What decided each.
    #[must_use]
    pub fn details(&self) -> Cow<'_, str> {
        match self.0.as_slice() {
            [] => Cow::Borrowed(""),
            [one] => Cow::Borrowed(&one.detail),
            all => {
                let said = all.iter().map(|refusal| &*refusal.detail).filter(|detail| !detail.is_empty());
                Cow::Owned(said.collect::<Vec<_>>().join("; "))
            }
        }
    }
}
