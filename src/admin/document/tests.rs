//! The document as the code describes it, and that the one which is served is that.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tower_service::Service as _;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, Content, OpenApi, Ref, RefOr, Response, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;

use super::*;
use crate::admin::problem::{FieldProblem, Problem};
use crate::admin::{not_so, nowhere};
use crate::clock::Timestamp;
use crate::key::record::{KeyRecord, PreviousSecret};
use crate::key::shown;
use crate::store::contract::{key, tenant};
use crate::store::session::fixture::session;
use crate::tenant::TenantRecord;

/// What all operations have in common.
#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(Problem, FieldProblem)))]
struct Common;

/// The document, as the code describes it.
fn api() -> OpenApi {
    let (_, mut document) = OpenApiRouter::<()>::with_openapi(Common::openapi()).nest(ROOT, described()).split_for_parts();
    document.info.title = "Sidegate management API".into();
    document.info.version = "1".into();
    document.info.description = Some("Keys, tenants and sessions, what changed them, and what they are used for.".into());
    document.info.contact = None;
    let token =
        SecurityScheme::Http(Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("A token of [[admin.tokens]]")).build());
    document.components.get_or_insert_with(Components::new).add_security_scheme("token", token);
    document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    document.paths.paths.iter_mut().for_each(|(path, item)| say_refusals(path, item));
    document
}

/// Adds to each operation the refusals that need no words of its own.
fn say_refusals(path: &str, item: &mut PathItem) {
    let is_of_one = path.contains('{');
    let refusals = |operation: &mut Option<Operation>, is_post: bool, is_write: bool| {
        let Some(operation) = operation else { return };
        let refusals = [
            ("400", "The request is wrong; `errors` names the fields", true),
            ("401", "There is no token, or it is unknown", true),
            ("403", "The token lacks the permission, or a page of another origin asks", true),
            ("404", "There is no such thing", is_of_one),
            ("408", "The body did not come in time", is_write),
            ("409", "It is in another state or of another version; or a request with this Idempotency-Key is in progress", is_write),
            ("413", "The body is too large", is_write),
            ("415", "The body is no JSON", is_write),
            ("421", "The listener is not called so", true),
            ("422", "This Idempotency-Key was used with different parameters", is_post),
            ("500", "A record cannot be read", true),
            ("503", "The store does not answer", true),
        ];
        for (status, description, _) in refusals.into_iter().filter(|(_, _, applies)| *applies) {
            let content = Content::new(Some(Ref::from_schema_name("Problem")));
            let response = Response::builder().description(description).content("application/problem+json", content).build();
            operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
        }
    };
    refusals(&mut item.get, false, false);
    refusals(&mut item.post, true, true);
    refusals(&mut item.patch, false, true);
    refusals(&mut item.delete, false, true);
}

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

fn operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| item.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase()))).collect()
}

#[test]
fn the_document_that_is_served_is_what_the_code_describes() {
    let described = api().to_json().unwrap();
    if described != OPENAPI {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/target/openapi.json");
        std::fs::write(file, described).unwrap();
        panic!("src/admin/openapi.json is not what the code describes: {file} is");
    }
}

#[tokio::test]
async fn the_document_has_every_route_with_every_method_and_no_other() {
    let document = document();
    let all = operations(&document);
    assert!(all.len() >= 24, "{all:?}");
    let mut router = routes().fallback(nowhere).method_not_allowed_fallback(not_so);
    for (path, _) in &all {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
            let request = Request::builder().method(method.clone()).uri(path.replace("{id}", "x")).body(Body::empty()).unwrap();
            let answer = router.call(request).await.unwrap();
            let is_known = all.contains(&(path.clone(), method.to_string()));
            // Nobody was let in: a handler that is there says so.
            let expected = if is_known { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::METHOD_NOT_ALLOWED };
            assert_eq!(answer.status(), expected, "{method} {path}");
            if !is_known {
                let allowed = answer.headers()[header::ALLOW].to_str().unwrap();
                let documented =
                    all.iter().filter(|(known, _)| known == path).all(|(_, method)| allowed.split(',').any(|word| word == method));
                assert!(documented, "{path}: {allowed}");
            }
        }
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_how_it_refuses() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut names = std::collections::BTreeSet::new();
    for (path, method) in operations(&document) {
        let operation = &document["paths"][&path][method.to_lowercase()];
        assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
        assert!(!operation["summary"].as_str().unwrap().is_empty());
        for status in ["400", "401", "403", "503"] {
            let content = &operation["responses"][status]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(content, "#/components/schemas/Problem", "{method} {path} {status}");
        }
    }
}

/// All properties of a schema, those of its parts too, and which must be there.
fn properties(document: &Value, schema: &Value) -> (Vec<String>, Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => &document["components"]["schemas"][name.rsplit('/').next().unwrap()],
        None => schema,
    };
    let (mut names, mut required) = (Vec::new(), Vec::new());
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let (more, needed) = properties(document, part);
        names.extend(more);
        required.extend(needed);
    }
    names.extend(schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys().cloned()));
    required.extend(schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()));
    (names, required)
}

fn holds(name: &str, least: &Value, most: &Value) {
    let document = document();
    let (mut names, required) = properties(&document, &json!({ "$ref": format!("#/components/schemas/{name}") }));
    let mut shown: Vec<String> = most.as_object().unwrap().keys().cloned().collect();
    shown.sort();
    names.sort();
    assert_eq!(names, shown, "{name}");
    assert!(required.iter().all(|field| least.get(field).is_some()), "{name}: {required:?} of {least}");
}

#[test]
fn records_are_described_as_they_are_shown() {
    let least = key("key_1", "acme", "s1");
    let most = KeyRecord {
        ip_allowlist: Some(vec![]),
        referrers: Some(vec![]),
        endpoints: Some(vec![]),
        rate_limit: Some(json!({ "requests": 1, "per": "1s" })),
        last_used_from: Some("192.0.2.1".into()),
        metadata: [("a".into(), "b".into())].into(),
        previous: Some(PreviousSecret { digest: String::new(), until: Timestamp(1) }),
        ..least.clone()
    };
    let shown = |record: &KeyRecord| Value::from(shown::key(record, None, Timestamp(0)));
    holds("Key", &shown(&least), &shown(&most));
    let least = tenant("acme");
    let most = TenantRecord {
        ip_allowlist: Some(vec![]),
        scopes: Some(vec![]),
        rate_limit: Some(json!({})),
        metadata: [("a".into(), "b".into())].into(),
        ..least.clone()
    };
    let session = Value::from(crate::session::shown(&session("ses_1", "acme", "ada"), Timestamp(0)));
    holds("Session", &session, &session);
    holds("Tenant", &Value::from(shown::fields(&least)), &Value::from(shown::fields(&most)));
}
