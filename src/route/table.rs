//! A trie over decoded segments. Its precedence is a security property: static before capture before `**`, left to right;
//! at equal templates a named method before `*`; what matches only with other methods does not stop the search.

use std::collections::BTreeMap;

use http::Method;
use smallvec::SmallVec;

use super::template::{Methods, Step, Template};

/// Values by template.
#[derive(Debug)]
pub struct Table<T> {
    root: Node<T>,
}

/// Captured segments, in the order of the template.
pub type Captures<'p> = SmallVec<[&'p str; 4]>;

#[derive(Debug)]
struct Node<T> {
    statics: BTreeMap<Box<str>, Self>,
    capture: Option<Box<Self>>,
    /// Templates that end here.
    here: Vec<(Methods, T)>,
    /// Templates that end here with `**`.
    rest: Vec<(Methods, T)>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { statics: BTreeMap::new(), capture: None, here: Vec::new(), rest: Vec::new() }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { root: Node::default() }
    }
}

impl<T> Table<T> {
    /// Adds a value. The value that already stands at an equal template with a common named method is the error.
    ///
    /// # Errors
    /// That value.
    pub fn insert(&mut self, template: &Template, value: T) -> Result<(), &T> {
        let mut node = &mut self.root;
        for step in &template.steps {
            node = match step {
                Step::Static(text) => node.statics.entry(text.clone()).or_default(),
                Step::Capture(_) => node.capture.get_or_insert_default(),
                Step::Rest => break,
            };
        }
        let list = if template.steps.last() == Some(&Step::Rest) { &mut node.rest } else { &mut node.here };
        let clash = list.iter().position(|(methods, _)| match (methods, &template.methods) {
            (Methods::Any, Methods::Any) => true,
            (Methods::Named(one), Methods::Named(other)) => one.iter().any(|method| other.contains(method)),
            (Methods::Any, Methods::Named(_)) | (Methods::Named(_), Methods::Any) => false,
        });
        if let Some(index) = clash {
            return list.get(index).map_or(Ok(()), |(_, there)| Err(there));
        }
        list.push((template.methods.clone(), value));
        Ok(())
    }

    /// The most specific value for which `accept` holds.
    pub fn find<'t, 'p>(
        &'t self,
        method: &Method,
        segments: &[&'p str],
        accept: &dyn Fn(&T, &[&'p str]) -> bool,
    ) -> Option<(&'t T, Captures<'p>)> {
        let mut captures = Captures::new();
        self.root.find(method, segments, &mut captures, accept).map(|value| (value, captures))
    }
}

impl<T> Node<T> {
    fn find<'p>(
        &self,
        method: &Method,
        segments: &[&'p str],
        captures: &mut Captures<'p>,
        accept: &dyn Fn(&T, &[&'p str]) -> bool,
    ) -> Option<&T> {
        let Some((segment, behind)) = segments.split_first() else {
            return pick(&self.here, method, captures, accept).or_else(|| pick(&self.rest, method, captures, accept));
        };
        if let Some(found) = self.statics.get(*segment).and_then(|node| node.find(method, behind, captures, accept)) {
            return Some(found);
        }
        if let Some(node) = self.capture.as_ref().filter(|_| !segment.is_empty()) {
            captures.push(segment);
            if let Some(found) = node.find(method, behind, captures, accept) {
                return Some(found);
            }
            captures.pop();
        }
        pick(&self.rest, method, captures, accept)
    }
}

/// Among equal templates: the method by name, then GET for HEAD, then `*`.
fn pick<'t, 'p, T>(
    list: &'t [(Methods, T)],
    method: &Method,
    captures: &[&'p str],
    accept: &dyn Fn(&T, &[&'p str]) -> bool,
) -> Option<&'t T> {
    let by = |wanted: &dyn Fn(&Methods) -> bool| {
        list.iter().find(|(methods, value)| wanted(methods) && accept(value, captures)).map(|(_, value)| value)
    };
    by(&|methods| matches!(methods, Methods::Named(named) if named.contains(method)))
        .or_else(|| by(&|methods| matches!(methods, Methods::Named(_)) && methods.contain(method)))
        .or_else(|| by(&|methods| matches!(methods, Methods::Any)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(templates: &[&'static str]) -> Table<&'static str> {
        let mut table = Table::default();
        for text in templates {
            table.insert(&text.parse().unwrap(), *text).unwrap();
        }
        table
    }

    fn find(table: &Table<&'static str>, method: &Method, path: &'static str) -> Option<&'static str> {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        table.find(method, &segments, &|_, _| true).map(|(value, _)| *value)
    }

    #[test]
    fn the_most_specific_template_wins_whatever_the_order() {
        let table = table(&[
            "* /**",
            "GET /v1/**",
            "GET /v1/{a}/x",
            "GET /v1/users/{id}",
            "POST /v1/users/{id}",
            "* /v1/users/me",
            "GET /v1/users/me",
        ]);
        for (method, path, expected) in [
            (Method::GET, "/v1/users/me", "GET /v1/users/me"),
            (Method::HEAD, "/v1/users/me", "GET /v1/users/me"),
            (Method::PUT, "/v1/users/me", "* /v1/users/me"),
            (Method::GET, "/v1/users/7", "GET /v1/users/{id}"),
            (Method::POST, "/v1/users/7", "POST /v1/users/{id}"),
            (Method::DELETE, "/v1/users/7", "* /**"),
            (Method::GET, "/v1/users/x", "GET /v1/users/{id}"),
            (Method::GET, "/v1/other/x", "GET /v1/{a}/x"),
            (Method::GET, "/v1", "GET /v1/**"),
            (Method::GET, "/v1/", "GET /v1/**"),
            (Method::GET, "/", "* /**"),
        ] {
            assert_eq!(find(&table, &method, path), Some(expected), "{method} {path}");
        }
    }

    #[test]
    fn equal_templates_clash_only_on_a_common_named_method() {
        let mut table = table(&["GET /a/{x}", "* /a/{x}", "POST /a/{y}"]);
        assert!(table.insert(&"GET,PUT /a/{z}".parse().unwrap(), "new").is_err());
        assert!(table.insert(&"* /a/{z}".parse().unwrap(), "new").is_err());
        assert!(table.insert(&"HEAD /a/{z}".parse().unwrap(), "head").is_ok());
        assert_eq!(find(&table, &Method::HEAD, "/a/1"), Some("head"));
    }

    #[test]
    fn a_capture_is_never_empty_and_values_come_in_order() {
        let table = table(&["GET /a/{x}/{y}/**"]);
        assert_eq!(find(&table, &Method::GET, "/a/"), None);
        let (_, captures) = table.find(&Method::GET, &["a", "1", "2", "3"], &|_, _| true).unwrap();
        assert_eq!(captures.to_vec(), ["1", "2"]);
    }

    fn matches(template: &Template, segments: &[&str]) -> bool {
        match (template.steps.split_first(), segments.split_first()) {
            (Some((Step::Rest, _)), _) | (None, None) => true,
            (Some((step, steps)), Some((segment, behind))) => {
                let here = match step {
                    Step::Static(text) => **text == **segment,
                    Step::Capture(_) => !segment.is_empty(),
                    Step::Rest => true,
                };
                here && matches(&Template { methods: Methods::Any, steps: steps.to_vec() }, behind)
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    proptest! {
        #[test]
        fn the_table_equals_a_naive_matcher(
            texts in proptest::collection::vec("(GET|POST|\\*) (/(a|b|\\{x\\})){1,3}(/\\*\\*)?", 1..12),
            path in "(/(a|b|c)){1,4}/?", post in any::<bool>()
        ) {
            let method = if post { Method::POST } else { Method::GET };
            let mut table = Table::default();
            let mut templates: Vec<Template> = Vec::new();
            for text in &texts {
                if let Ok(template) = text.parse::<Template>() && table.insert(&template, templates.len()).is_ok() {
                    templates.push(template);
                }
            }
            let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
            let naive = templates.iter().enumerate()
                .filter(|(_, template)| template.methods.contain(&method) && matches(template, &segments))
                .min_by_key(|(_, template)| template.rank()).map(|(index, _)| index);
            prop_assert_eq!(table.find(&method, &segments, &|_, _| true).map(|(index, _)| *index), naive);
        }
    }
}
