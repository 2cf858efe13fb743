//! From a method's path to the service that has it.

use crate::finish::Finishing;
use crate::hosting::Placement;
use crate::pool::{OnPool, Pool};
use crate::{Disconnect, Hosting, Service};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// One method of one hosted service.
pub(crate) struct Route {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) method: usize,
    /// Whether the method takes a stream of messages.
    pub(crate) client_streaming: bool,
    /// Its handlers run on when their clients go away.
    pub(crate) finishing: Option<Arc<Finishing>>,
    /// The path; see [`intern`].
    pub(crate) path: &'static str,
}

/// The number of a route in its router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteId(u32);

impl RouteId {
    /// Its place among all routes.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// All methods of all hosted services, by path.
#[derive(Default)]
pub(crate) struct Router {
    routes: Vec<Route>,
    by_path: HashMap<&'static str, RouteId>,
    services: Vec<&'static str>,
}

impl Router {
    /// Adds a service, some of whose methods may run on this pool, or run on. False when one of that name is
    /// there already.
    pub(crate) fn add(
        &mut self,
        hosting: &Hosting,
        pool: &Arc<Pool>,
        finishing: &Arc<Finishing>,
    ) -> bool {
        let service = &hosting.service;
        if self.services.contains(&service.name()) {
            return false;
        }
        self.services.push(service.name());
        let pooled = |whole| -> Arc<dyn Service> {
            Arc::new(OnPool {
                service: Arc::clone(service),
                pool: Arc::clone(pool),
                whole,
            })
        };
        let (whole, begin) = (pooled(true), pooled(false));
        let methods = service.methods().iter().zip(&hosting.options);
        for (method, (info, options)) in methods.enumerate() {
            let path = intern(format!("/{}/{}", service.name(), info.name));
            let id = RouteId(self.routes.len() as u32);
            self.by_path.insert(path, id);
            let service = Arc::clone(match options.placement {
                Placement::OnLoop => service,
                Placement::BeginsOnPool => &begin,
                Placement::OnPool => &whole,
            });
            let lasts = options.disconnect == Disconnect::Finish;
            self.routes.push(Route {
                service,
                method,
                client_streaming: info.client_streaming,
                finishing: lasts.then(|| Arc::clone(finishing)),
                path,
            });
        }
        true
    }

    /// The number of the route with this path.
    pub(crate) fn find(&self, path: &str) -> Option<RouteId> {
        self.by_path.get(path).copied()
    }

    /// The paths of all routes, by number.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.routes.iter().map(|route| route.path)
    }

    /// The route with this number.
    pub(crate) fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.index()]
    }

    /// Why [`Router::find`] found nothing, for the caller to read.
    pub(crate) fn explain_missing(&self, path: &str) -> String {
        let mut parts = path.trim_start_matches('/').split('/');
        let service = parts.next().unwrap_or_default();
        if self.services.contains(&service) {
            return format!("service {service} has no method {path}");
        }
        let here = self.services.join(", ");
        format!("no service {service:?} here; this server hosts: {here}")
    }
}

/// The one copy of a path that the process keeps for good, so that requests name their method without
/// counting references: two locked instructions less for each call. A program has as many as it has
/// methods.
fn intern(path: String) -> &'static str {
    static PATHS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut paths = PATHS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kept) = paths.get(path.as_str()) {
        return kept;
    }
    let kept = path.leak();
    paths.insert(kept);
    kept
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_path.keys()).finish()
    }
}
