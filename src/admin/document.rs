//! All routes, and the OpenAPI document of them: one list makes both, so that neither knows one that the other does not.

use axum::Router;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, OpenApi, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::keys;

/// Where it is.
const ROOT: &str = "/admin/v1";

/// The routes, and what they are.
pub(super) fn api() -> (Router, OpenApi) {
    let routes = OpenApiRouter::new().routes(routes!(keys::list::list, keys::create::create)).routes(routes!(keys::show::show));
    let (router, mut document) = OpenApiRouter::new().nest(ROOT, routes).split_for_parts();
    document.info.title = "Sidegate management API".into();
    document.info.version = "1".into();
    let token =
        SecurityScheme::Http(Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("A token of [[admin.tokens]]")).build());
    document.components.get_or_insert_with(Components::new).add_security_scheme("token", token);
    document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    (router, document)
}
