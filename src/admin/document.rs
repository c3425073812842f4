//! All routes, and the `OpenAPI` document of them: one list makes both, so that neither knows one that the other does not. The document
//! is made by a test and kept beside this file as it is served: what makes it would be a twentieth of the binary.

use axum::Router;
use axum::handler::Handler;
use axum::routing::on;
use utoipa_axum::PathItemExt as _;

use super::{audit, explain, keys, sessions, status, tenants, usage};

/// Where it is.
pub(super) const ROOT: &str = "/admin/v1";

/// The document.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// Makes the routes of handlers, and the test's description of them.
macro_rules! operations {
    ($($($module:ident)::+, $handler:ident;)+) => {
        /// The routes.
        pub(super) fn routes() -> Router {
            let router = Router::new();
            $(let router = route::<utoipa_axum::paste! { $($module::)+[<__path_ $handler>] }, _, _>(router, &$($module::)+$handler);)+
            router
        }

        /// Their paths.
        pub(super) fn paths() -> Vec<String> {
            vec![$(path::<utoipa_axum::paste! { $($module::)+[<__path_ $handler>] }>()),+]
        }

        #[cfg(test)]
        fn described() -> utoipa_axum::router::OpenApiRouter {
            utoipa_axum::router::OpenApiRouter::new()$(.routes(utoipa_axum::routes!($($module::)+$handler)))+
        }
    };
}

operations! {
    keys::list, list_keys;
    keys::create, create_key;
    keys::list, show_key;
    keys::change, change_key;
    keys::rotate, rotate_key;
    keys::rotate, end_overlap;
    keys::state, activate_key;
    keys::state, deactivate_key;
    keys::state, revoke_key;
    keys::revoke, revoke_keys;
    keys::lookup, look_up_key;
    usage, key_usage;
    usage, tenant_usage;
    usage, list_denials;
    tenants::list, list_tenants;
    tenants::create, create_tenant;
    tenants::list, show_tenant;
    tenants::change, change_tenant;
    tenants::state, delete_tenant;
    tenants::state, suspend_tenant;
    tenants::state, resume_tenant;
    sessions::list, list_sessions;
    sessions::create, create_session;
    sessions::list, show_session;
    sessions::revoke, revoke_session;
    sessions::revoke, revoke_sessions;
    audit, list_events;
    explain, explain;
    status, status;
    status, openapi;
}

fn path<P: utoipa::Path>() -> String {
    format!("{ROOT}{}", P::path())
}

fn route<P: utoipa::Path, H: Handler<T, ()>, T: 'static>(router: Router, handler: &H) -> Router {
    P::methods().iter().fold(router, |router, method| router.route(&path::<P>(), on(method.to_method_filter(), handler.clone())))
}

#[cfg(test)]
mod tests;
