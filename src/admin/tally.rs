//! What the admin listener is asked, for `/metrics`: requests by route and class of status. Routes are those of the document, never what
//! stands in a request.

use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use super::document::ROOT;

/// Classes that are told.
const CLASSES: [(&str, u16); 3] = [("2xx", 2), ("4xx", 4), ("5xx", 5)];
/// Paths that lead nowhere.
const NOWHERE: &str = "none";

/// Counts of an admin listener.
#[derive(Debug)]
pub(crate) struct Tally(Vec<(String, [AtomicU64; CLASSES.len()])>);

impl Tally {
    /// Of these routes, as the document has them.
    pub(super) fn new<'a>(paths: impl Iterator<Item = &'a str>) -> Self {
        let own = paths.filter_map(|path| path.strip_prefix(ROOT));
        let mut routes: Vec<String> = own.map(ToOwned::to_owned).collect();
        // Where a name and an id could stand, the name is meant.
        routes.sort_by_key(|route| (route.contains('{'), route.clone()));
        routes.dedup();
        Self(routes.into_iter().chain([NOWHERE.to_owned()]).map(|route| (route, <[AtomicU64; CLASSES.len()]>::default())).collect())
    }

    /// A request to this path was answered so.
    pub(super) fn count(&self, path: &str, status: StatusCode) {
        let asked = path.strip_prefix(ROOT).unwrap_or_default();
        let of_route = self.0.iter().find(|(route, _)| is_of(route, asked) || route == NOWHERE);
        let class = CLASSES.iter().position(|(_, class)| *class == status.as_u16() / 100);
        if let Some(count) = of_route.zip(class).and_then(|((_, counts), class)| counts.get(class)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Route, class and count of each.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&str, &'static str, u64)> {
        self.0.iter().flat_map(|(route, counts)| {
            CLASSES.iter().zip(counts).map(|((class, _), count)| (route.as_str(), *class, count.load(Ordering::Relaxed)))
        })
    }
}

/// Whether a path is one of a route.
fn is_of(route: &str, path: &str) -> bool {
    let (mut steps, mut segments) = (route.split('/'), path.split('/'));
    loop {
        match (steps.next(), segments.next()) {
            (None, None) => return true,
            (Some(step), Some(segment)) if step == segment || step.starts_with('{') && !segment.is_empty() => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_with_the_route_that_serves_it_and_under_no_other_name() {
        let tally = Tally::new(["/admin/v1/keys/{id}", "/admin/v1/keys/revoke", "/admin/v1/keys", "/admin/v1/keys/{id}/usage"].into_iter());
        for (path, status) in [
            ("/admin/v1/keys", 200),
            ("/admin/v1/keys/revoke", 200),
            ("/admin/v1/keys/key_1", 404),
            ("/admin/v1/keys/key_2", 404),
            ("/admin/v1/keys/key_2/usage", 503),
            ("/admin/v1/keys/", 404),
            ("/admin/v1/key_1", 401),
            ("/keys", 404),
            ("/", 421),
        ] {
            tally.count(path, StatusCode::from_u16(status).unwrap());
        }
        let counted: Vec<_> = tally.counts().filter(|(.., count)| *count > 0).collect();
        let expected =
            [("/keys", "2xx", 1), ("/keys/revoke", "2xx", 1), ("/keys/{id}", "4xx", 2), ("/keys/{id}/usage", "5xx", 1), ("none", "4xx", 4)];
        assert_eq!(counted, expected);
    }
}
