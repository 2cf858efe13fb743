//! A service with how its methods run.

use crate::{Disconnect, Service};
use std::fmt;
use std::sync::Arc;

/// A service as a server hosts it, with how its methods run: what [`Service::on_pool`] and its
/// neighbours make, and [`crate::ServerBuilder::add_service`] takes.
#[derive(Clone)]
pub struct Hosting {
    pub(crate) service: Arc<dyn Service>,
    /// By method.
    pub(crate) options: Vec<MethodOptions>,
    /// A method was named that the service does not have.
    pub(crate) unknown: Option<String>,
}

/// How one method runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MethodOptions {
    pub(crate) placement: Placement,
    pub(crate) disconnect: Disconnect,
}

/// Where a handler runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Placement {
    #[default]
    OnLoop,
    /// On the pool; its stream of replies is made on the loop.
    BeginsOnPool,
    OnPool,
}

impl Hosting {
    /// Runs the handlers of all methods on the server's pool: see [`Service::on_pool`].
    #[must_use]
    pub fn on_pool(mut self) -> Self {
        self.all(|options| options.placement = Placement::OnPool);
        self
    }

    /// Runs the handlers of one method on the server's pool: see [`Service::method_on_pool`].
    #[must_use]
    pub fn method_on_pool(mut self, method: &str) -> Self {
        self.one(method, |options| options.placement = Placement::OnPool);
        self
    }

    /// Runs the handlers of one method on the server's pool until they reply: see
    /// [`Service::method_begins_on_pool`].
    #[must_use]
    pub fn method_begins_on_pool(mut self, method: &str) -> Self {
        self.one(method, |options| {
            options.placement = Placement::BeginsOnPool
        });
        self
    }

    /// What becomes of the handlers of all methods when their clients go away: see [`Disconnect`].
    #[must_use]
    pub fn on_disconnect(mut self, disconnect: Disconnect) -> Self {
        self.all(|options| options.disconnect = disconnect);
        self
    }

    /// The same for one method.
    #[must_use]
    pub fn method_on_disconnect(mut self, method: &str, disconnect: Disconnect) -> Self {
        self.one(method, |options| options.disconnect = disconnect);
        self
    }

    fn all(&mut self, set: impl Fn(&mut MethodOptions)) {
        self.options.iter_mut().for_each(set);
    }

    fn one(&mut self, name: &str, set: impl FnOnce(&mut MethodOptions)) {
        let methods = self.service.methods();
        match methods.iter().position(|method| method.name == name) {
            Some(method) => set(&mut self.options[method]),
            None => {
                let names: Vec<_> = methods.iter().map(|method| method.name).collect();
                let (service, names) = (self.service.name(), names.join(", "));
                let text = format!("service {service} has no method {name:?}; it has {names}");
                self.unknown.get_or_insert(text);
            }
        }
    }
}

impl<S: Service> From<S> for Hosting {
    fn from(service: S) -> Self {
        Self {
            options: vec![MethodOptions::default(); service.methods().len()],
            service: Arc::new(service),
            unknown: None,
        }
    }
}

impl fmt::Debug for Hosting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods = self.service.methods().iter().map(|method| method.name);
        let mut service = f.debug_struct(self.service.name());
        for (method, options) in methods.zip(&self.options) {
            service.field(method, options);
        }
        service.finish()
    }
}
