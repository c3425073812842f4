//! All routes, and the OpenAPI document of them: one list makes both, so that neither knows one that the other does not. What every
//! operation may answer is said here once.

use axum::Router;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, Content, OpenApi, Ref, RefOr, Response, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{FieldProblem, Problem};
use super::{audit, explain, keys, status, tenants, usage};

/// Where it is.
pub(super) const ROOT: &str = "/admin/v1";

/// What all operations have in common.
#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(Problem, FieldProblem)))]
struct Common;

/// The routes, and what they are.
pub(super) fn api() -> (Router, OpenApi) {
    let routes = OpenApiRouter::new()
        .routes(routes!(keys::list::list_keys, keys::create::create_key))
        .routes(routes!(keys::list::show_key, keys::change::change_key))
        .routes(routes!(keys::rotate::rotate_key))
        .routes(routes!(keys::rotate::end_overlap))
        .routes(routes!(keys::state::activate_key))
        .routes(routes!(keys::state::deactivate_key))
        .routes(routes!(keys::state::revoke_key))
        .routes(routes!(keys::revoke::revoke_keys))
        .routes(routes!(keys::lookup::look_up_key))
        .routes(routes!(usage::key_usage))
        .routes(routes!(usage::tenant_usage))
        .routes(routes!(usage::list_denials))
        .routes(routes!(tenants::list::list_tenants, tenants::create::create_tenant))
        .routes(routes!(tenants::list::show_tenant, tenants::change::change_tenant, tenants::state::delete_tenant))
        .routes(routes!(tenants::state::suspend_tenant))
        .routes(routes!(tenants::state::resume_tenant))
        .routes(routes!(audit::list_events))
        .routes(routes!(explain::explain))
        .routes(routes!(status::status))
        .routes(routes!(status::openapi));
    let (router, mut document) = OpenApiRouter::with_openapi(Common::openapi()).nest(ROOT, routes).split_for_parts();
    document.info.title = "Sidegate management API".into();
    document.info.version = "1".into();
    document.info.description = Some("Keys and tenants, what changed them, and what they are used for.".into());
    document.info.contact = None;
    let token =
        SecurityScheme::Http(Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("A token of [[admin.tokens]]")).build());
    document.components.get_or_insert_with(Components::new).add_security_scheme("token", token);
    document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    document.paths.paths.iter_mut().for_each(|(path, item)| say_refusals(path, item));
    (router, document)
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
