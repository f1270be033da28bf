//! What the run feeds and the terminal's thread draws.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use crate::top::picture::Picture;

/// What the terminal's thread and the run share.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    pub picture: Arc<Mutex<Picture>>,
    pub quit: Arc<AtomicBool>,
}

impl Shared {
    pub fn with<T>(&self, look: impl FnOnce(&mut Picture) -> T) -> T {
        look(&mut self.picture.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
