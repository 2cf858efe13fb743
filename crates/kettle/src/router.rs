//! From a method's path to the service that has it.

use crate::Service;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// One method of one hosted service.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) method: usize,
    /// The path, shared by all requests of this method.
    pub(crate) path: Arc<str>,
}

/// All methods of all hosted services, by path.
#[derive(Default)]
pub(crate) struct Router {
    routes: HashMap<Arc<str>, Route>,
    services: Vec<&'static str>,
}

impl Router {
    /// Adds a service. False when one of that name is there already.
    pub(crate) fn add(&mut self, service: &Arc<dyn Service>) -> bool {
        if self.services.contains(&service.name()) {
            return false;
        }
        self.services.push(service.name());
        for (method, info) in service.methods().iter().enumerate() {
            let path: Arc<str> = format!("/{}/{}", service.name(), info.name).into();
            let route = Route {
                service: Arc::clone(service),
                method,
                path: Arc::clone(&path),
            };
            self.routes.insert(path, route);
        }
        true
    }

    /// The route of a path.
    pub(crate) fn find(&self, path: &str) -> Option<&Route> {
        self.routes.get(path)
    }

    /// Why [`Router::find`] found nothing, for the caller to read.
    pub(crate) fn explain_missing(&self, path: &str) -> String {
        let service = path
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or_default();
        if self.services.contains(&service) {
            return format!("service {service} has no method {path}");
        }
        format!(
            "no service {service:?} here; this server hosts: {}",
            self.services.join(", ")
        )
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}
