//! Putting right what a process left behind that died between two writings.

use vrouter_api::{AffinityKind, AffinityState};

use super::Ipam;
use super::check::Problem;
use crate::error::StoreError;

impl Ipam {
    /// Finishes claims that were left half done and makes handles count what blocks hold. Returns
    /// what there was to do; with `dry`, nothing is changed. Addresses are never taken from
    /// anybody.
    ///
    /// # Errors
    /// The store's.
    pub fn repair(&self, dry: bool) -> Result<Vec<String>, StoreError> {
        let mut done = Vec::new();
        for claim in self.affinities(None)? {
            if claim.spec.kind != AffinityKind::Host {
                // Its holder finishes it by itself.
                continue;
            }
            let (node, cidr) = (&claim.spec.node, claim.spec.cidr);
            match claim.spec.state {
                AffinityState::Confirmed => {}
                AffinityState::Pending => {
                    done.push(format!("claim of {node} on {cidr}: finished"));
                    if !dry {
                        self.claim(node, cidr)?;
                    }
                }
                AffinityState::PendingDeletion => {
                    done.push(format!("claim of {node} on {cidr}: removed"));
                    if !dry {
                        match self.release_affinity(node, cidr, false) {
                            Ok(()) | Err(StoreError::NotFound { .. }) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
            }
        }
        for problem in self.check()?.problems {
            let Problem::Handle {
                handle,
                block,
                counts,
                held,
            } = problem
            else {
                continue;
            };
            done.push(format!(
                "handle {handle}: counts {held} in {block}, not {counts}"
            ));
            if dry {
                continue;
            }
            self.change_handle(&handle, |it| {
                // Somebody else may have put it right, or be at it.
                if it.block.get(&block).copied().unwrap_or(0) == counts {
                    it.block.insert(block.clone(), held);
                    it.block.retain(|_, count| *count > 0);
                }
            })?;
        }
        Ok(done)
    }
}
