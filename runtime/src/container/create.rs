//! Making a container: what can be wrong with the command line first, then the record, the name, the image's hold and the
//! snapshot, in the order in which a crash leaves something that `rm` finds.

use cowlab_driver::Durability;
use cowlab_snapshots::PrepareOptions;
use cowlab_sys::lock::FileLock;
use cowlab_sys::{durability, io};

use super::config::{self, CreateOptions, Source};
use super::files::FileDurability;
use super::mounts::{self, Attached, MountRequest};
use super::place::Containers;
use super::record::{Record, State, Step};
use super::{Error, Result, files, names, prepare};
use crate::graph::UserRow;

impl Containers<'_> {
    /// Makes a container.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`], [`Error::Invalid`], [`Error::NotFound`] for a container whose volumes are wanted;
    /// [`Error::Store`]. Then nothing is there.
    pub fn create(&self, source: &Source, options: &CreateOptions) -> Result<Record> {
        let mut mount_requests = options.mounts.clone();
        for other in &options.volumes_from {
            self.add_volumes_of(other, &mut mount_requests)?;
        }
        let declared = source
            .config
            .config()
            .as_ref()
            .and_then(|config| config.volumes().clone());
        let mount_requests = mounts::complete(mount_requests, &declared.unwrap_or_default())?;
        // Everything that can be wrong with the command line is, before anything is made.
        let id = match &options.prestarted {
            Some(id) => id.clone(),
            None => names::new_id()?,
        };
        config::record(id.clone(), source, options, Vec::new())?;
        if let Some(name) = &options.name {
            self.refuse_taken(name)?;
        }
        let attaching = self.volumes().attaching()?;
        let mut anonymous = Vec::new();
        let made = self
            .attach_mounts(mount_requests, &mut anonymous)
            .and_then(|mounts| config::record(id, source, options, mounts))
            .and_then(|record| self.make(record, attaching));
        made.inspect_err(|_| {
            for name in &anonymous {
                if let Err(error) = self.volumes().remove_unused(name) {
                    tracing::warn!(name, %error, "left behind");
                }
            }
        })
    }

    /// Makes what `record` says. `attaching` keeps its volumes until the record does.
    fn make(&self, record: Record, attaching: FileLock) -> Result<Record> {
        let _lock = self.begin(&record)?;
        let made = (|| {
            self.keep_room(&record.id)?;
            self.claim(&record)?;
            self.hold_image(&record)?;
            let options = PrepareOptions {
                size_limit: record.size_limit.map(cowlab_driver::Bytes),
                durability: match record.ephemeral {
                    Some(_) => Durability::None,
                    None => Durability::Commit,
                },
                ..PrepareOptions::default()
            };
            if !record.is_borrower() {
                self.store()
                    .prepare(&record.snapshot, record.parent.as_deref(), &options)?;
            }
            // That takes its time, and others may remove volumes meanwhile.
            drop(attaching);
            prepare::fill_volumes(self, &record)?;
            let created = State {
                step: Step::Created,
                ..State::new()
            };
            match record.ephemeral {
                Some(_) => self.put_state(&record.id, &created, FileDurability::Boot),
                None => self.write_state(&record, &created),
            }
        })();
        match made {
            Ok(()) => Ok(record),
            Err(error) => {
                if let Err(left) = self.discard(&record.id, &record.snapshot, Some(&record.name)) {
                    tracing::warn!(id = record.id, error = %left, "left behind: `rm` removes it");
                }
                Err(error)
            }
        }
    }

    /// Makes a container's directory, locked: under another name first, so that it is there with its record or not at all.
    fn begin(&self, record: &Record) -> Result<FileLock> {
        let (new, dir) = (self.new_dir_of(&record.id), self.dir_of(&record.id));
        files::make_dir(&new)?;
        let begun = (|| {
            let lock = FileLock::exclusive(&new.join("lock"))?;
            let durability = match record.ephemeral {
                Some(_) => FileDurability::Either,
                None => FileDurability::PowerCut,
            };
            // Without a state it is being made.
            files::write(&new.join("container.json"), record, durability)?;
            io("rename", &dir, std::fs::rename(&new, &dir))?;
            if record.ephemeral.is_none() {
                durability::fsync_dir(dir.parent().unwrap_or(&dir))?;
            }
            Ok(lock)
        })();
        if begun.is_err()
            && let Err(error) = cowlab_sys::dir::remove_tree(&new)
        {
            tracing::warn!(%error, "left behind");
        }
        begun
    }

    /// Keeps the image from being removed as long as the container is there.
    fn hold_image(&self, record: &Record) -> Result<()> {
        let Some(image) = &record.image_id else {
            return Ok(());
        };
        let user = UserRow {
            id: record.id.clone(),
            name: record.name.clone(),
            image: image.clone(),
        };
        let is_flushed = record.ephemeral.is_none();
        Ok(self.root().graph().add_user(&user, is_flushed)?)
    }

    /// Takes the name of a container. A name whose container is gone is free.
    fn claim(&self, record: &Record) -> Result<()> {
        let file = self.name_file(&record.name);
        let durability = match record.ephemeral {
            Some(_) => FileDurability::Boot,
            None => FileDurability::PowerCut,
        };
        for _ in 0..2 {
            if files::claim(&file, record.id.as_bytes(), durability)? {
                return Ok(());
            }
            self.refuse_taken(&record.name)?;
            files::remove(&file)?;
        }
        Err(self.taken(&record.name, "another command"))
    }

    fn refuse_taken(&self, name: &str) -> Result<()> {
        match self.owner_of_name(name) {
            Some(id) => {
                let id = id.get(..12).unwrap_or(&id);
                Err(self.taken(name, &format!("container {id}")))
            }
            None => Ok(()),
        }
    }

    fn taken(&self, name: &str, owner: &str) -> Error {
        Error::NameTaken {
            what: "container",
            name: name.to_owned(),
            owner: owner.to_owned(),
        }
    }

    /// Adds the volumes and bind mounts of another container, where nothing else was asked for: `--volumes-from NAME[:ro]`.
    fn add_volumes_of(&self, text: &str, mount_requests: &mut Vec<MountRequest>) -> Result<()> {
        let (name, access) = text.split_once(':').unwrap_or((text, "rw"));
        let all_read_only = match access {
            "ro" => true,
            "rw" => false,
            _ => {
                let reason = "write NAME, NAME:ro or NAME:rw";
                return Err(Error::invalid("--volumes-from", text, reason));
            }
        };
        for mount in self.find(name)?.record.mounts {
            let mount_request = match mount {
                Attached::Volume {
                    name,
                    target,
                    read_only,
                    anonymous,
                    ..
                } => MountRequest::Volume {
                    name: Some(name),
                    target,
                    read_only: read_only || all_read_only,
                    copy: false,
                    anonymous,
                },
                Attached::Bind {
                    source,
                    target,
                    read_only,
                } => MountRequest::Bind {
                    source,
                    target,
                    read_only: read_only || all_read_only,
                    create: false,
                },
                Attached::Tmpfs { .. } => continue,
            };
            if !mount_requests
                .iter()
                .any(|other| other.target() == mount_request.target())
            {
                mount_requests.push(mount_request);
            }
        }
        Ok(())
    }

    /// Makes the volumes that are wanted; the names of the anonymous ones go to `made`.
    fn attach_mounts(
        &self,
        mount_requests: Vec<MountRequest>,
        made: &mut Vec<String>,
    ) -> Result<Vec<Attached>> {
        let mut attached = Vec::new();
        for mount_request in mount_requests {
            attached.push(match mount_request {
                MountRequest::Volume {
                    name,
                    target,
                    read_only,
                    copy,
                    anonymous,
                } => {
                    let volume = match &name {
                        Some(name) => self.volumes().create(Some(name), Default::default())?,
                        None => {
                            let volume = self.volumes().create_anonymous()?;
                            made.push(volume.name.clone());
                            volume
                        }
                    };
                    Attached::Volume {
                        name: volume.name,
                        target,
                        read_only,
                        copy,
                        anonymous,
                    }
                }
                MountRequest::Bind {
                    source,
                    target,
                    read_only,
                    create,
                } => {
                    if create && !source.exists() {
                        io("mkdir", &source, std::fs::create_dir_all(&source))?;
                    }
                    // Names a source that is not there.
                    if !source.exists() {
                        let reason =
                            "nothing is there: make it, or write `-v`, which makes a directory";
                        let text = source.display().to_string();
                        return Err(Error::invalid("source of a bind mount", &text, reason));
                    }
                    Attached::Bind {
                        source,
                        target,
                        read_only,
                    }
                }
                MountRequest::Tmpfs { target, options } => Attached::Tmpfs { target, options },
            });
        }
        Ok(attached)
    }
}
