//! One backing file system: a file, a loop device, a file system on it and its mount.

mod places;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cowlab_sys::loopdev::{self, LoopDevice, LoopOptions};
use cowlab_sys::mount::{MountGuard, MountOption, MountSpec, mount};
use cowlab_sys::{Cmd, Errno, Guard, Leak, io, mountinfo, page_cache};

pub use self::places::{Places, Small};

use self::places::zpools::Zpools;
use crate::description::{Description, all_options, sector_size};
use crate::journal::Intent;
use crate::recorded::{Disks, Served};
use crate::shared::{Shared, make_private_dir};
use crate::thin::{Ground, ThinPool};
use crate::zpool::{self, Pool};
use crate::{Backing, BackingOptions, Error, Extra, Media, Result, mkfs};

/// How often, and how far apart, to look whether an unmounted file system is gone: two seconds in
/// all. A new mount namespace, of a container that starts, say, has a copy of all mounts at first.
const RELEASE_CHECKS: u32 = 100;
const RELEASE_PAUSE: Duration = Duration::from_millis(20);

/// A mounted backing file system, taken back with the guard.
#[derive(Debug)]
pub struct BackingFs {
    run: Arc<Shared>,
    name: String,
    backing: Backing,
    options: BackingOptions,
    mount_point: PathBuf,
    spec: MountSpec,
    places: Places,
    // In the order in which they are taken back.
    mount: Option<MountGuard>,
    pool: Option<Pool>,
    thin: Option<ThinPool>,
    device: Option<LoopDevice>,
    image: Option<PathBuf>,
    memory: Option<MountGuard>,
    served: Option<Served>,
    recorded: Option<Recorded>,
}

/// What a file system on disks that record is made of.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) disks: Disks,
    /// Whether the disks have the file system already.
    pub(crate) is_made: bool,
}

impl BackingFs {
    pub(crate) fn make(
        run: Arc<Shared>,
        backing: Backing,
        options: &BackingOptions,
        recorded: Option<Recorded>,
    ) -> Result<Self> {
        backing.check()?;
        let least = backing.least_bytes();
        if options.bytes < least {
            let (backing, bytes) = (backing.name(), options.bytes);
            return Err(Error::TooSmall {
                backing,
                bytes,
                least,
            });
        }
        let name = run.name(backing.name());
        let mount_point = run.directory().join(&name);
        let mut made = Self {
            run,
            name,
            backing,
            options: options.clone(),
            mount_point,
            spec: MountSpec {
                fstype: backing.fstype().to_owned(),
                options: mkfs::mount_options(backing, options),
                ..MountSpec::default()
            },
            places: Places::default(),
            mount: None,
            pool: None,
            thin: None,
            device: None,
            image: None,
            memory: None,
            served: None,
            recorded,
        };
        if let Err(error) = made.build() {
            if let Err(leak) = made.close() {
                tracing::error!(%leak, "a file system was made in part");
            }
            return Err(error);
        }
        Ok(made)
    }

    fn build(&mut self) -> Result<()> {
        let bytes = self.options.bytes;
        let uuid = self.run.id_source().fixed_uuid(&self.name);
        let preallocate = self.options.preallocate;
        if let Some(command) = mkfs::command(self.backing, preallocate, uuid.as_deref()) {
            let command = command.args(mkfs::features(self.backing, self.options.extra));
            let directory = match (&self.recorded, self.options.media) {
                (Some(_), _) => self.serve_disks()?,
                (None, Media::Disk) => self.run.directory().to_path_buf(),
                (None, Media::Memory) => self.mount_memory()?,
            };
            if self.backing.is_thin() {
                self.make_thin(directory, &command)?;
                return self.show();
            }
            let name = format!("{}.img", self.name);
            let image = directory.join(&name);
            if self.recorded.is_none() {
                self.run.reserve(&image, self.options.media, bytes)?;
            }
            let on = self.on();
            self.run.record(&Intent::Image { name, on, bytes })?;
            self.image = Some(image.clone());
            mkfs::make_image(&image, bytes)?;
            let device = self.attach(&image)?;
            match self.backing {
                Backing::Zfs => self.make_pool(&device)?,
                _ if self.is_made() => {}
                _ => command.arg(&device).run()?,
            }
            if self.options.preallocate {
                // Two ways into one file would not see each other's pages: the device goes first.
                self.free_device()?;
                mkfs::write_holes(&image)?;
                self.attach(&image)?;
            }
            self.spec.source = self.source();
        } else {
            self.run.reserve(&self.mount_point, Media::Memory, bytes)?;
            self.spec.source = Some(self.name.clone().into());
        }
        self.show()
    }

    fn show(&mut self) -> Result<()> {
        let fstype = self.spec.fstype.clone();
        self.run.record(&Intent::Mount {
            name: self.name.clone(),
            fstype,
        })?;
        make_private_dir(&self.mount_point)?;
        self.mount_again()?;
        if self.options.extra == Some(Extra::SizeLimits)
            && let Some(command) = mkfs::enable_quotas(self.backing, &self.mount_point)
        {
            command.run()?;
        }
        Ok(())
    }

    /// Makes a pool with a thin device for this file system, and what makes further pools for drivers.
    fn make_thin(&mut self, directory: PathBuf, command: &Cmd) -> Result<()> {
        let (bytes, is_made) = (self.options.bytes, self.is_made());
        let ground = Ground {
            run: Arc::clone(&self.run),
            on: self.on(),
            media: self.options.media,
            sector_size: self.sector_size(),
            preallocate: self.options.preallocate,
            directory,
        };
        self.places = Places::of_pools(ground.clone(), self.backing.fstype(), bytes);
        let pool = self.thin.insert(ground.pool(self.name.clone(), bytes)?);
        if !is_made {
            command.clone().arg(pool.thin(bytes, true)?).run()?;
        }
        if self.options.preallocate {
            pool.preallocate()?;
        }
        self.spec.source = Some(pool.thin(bytes, false)?);
        Ok(())
    }

    /// Mounts the tmpfs that the image lies on, a little larger than the image.
    fn mount_memory(&mut self) -> Result<PathBuf> {
        let name = self.memory_name();
        let target = self.run.directory().join(&name);
        // Pools of drivers lie beside that of the file system; a small ZFS pool grows.
        let share = match self.backing {
            Backing::Zfs => 2,
            backing if backing.is_thin() => 4,
            _ => 1,
        };
        let size = (self.options.bytes * share + (16 << 20)).to_string();
        let spec = MountSpec {
            fstype: "tmpfs".to_owned(),
            source: Some(name.clone().into()),
            options: vec![
                MountOption::text("size", size),
                MountOption::text("mode", "0700"),
            ],
            ..MountSpec::default()
        };
        self.run.record(&Intent::Mount {
            name,
            fstype: spec.fstype.clone(),
        })?;
        make_private_dir(&target)?;
        self.memory = Some(mount(&spec, &target)?);
        Ok(target)
    }

    /// Mounts what serves the disks that record.
    fn serve_disks(&mut self) -> Result<PathBuf> {
        let name = self.memory_name();
        let target = self.run.directory().join(&name);
        self.run.record(&Intent::Mount {
            name: name.clone(),
            fstype: "fuse".to_owned(),
        })?;
        make_private_dir(&target)?;
        if let Some(recorded) = &self.recorded {
            self.served = Some(Served::at(&target, &name, &recorded.disks)?);
        }
        Ok(target)
    }

    /// Whether the disks have the file system already.
    fn is_made(&self) -> bool {
        self.recorded
            .as_ref()
            .is_some_and(|recorded| recorded.is_made)
    }

    /// The file system of the run that images lie on, where that is not the directory's.
    fn on(&self) -> Option<String> {
        let is_mounted = self.memory.is_some() || self.served.is_some();
        is_mounted.then(|| self.memory_name())
    }

    /// Disks that record take whole blocks.
    fn sector_size(&self) -> Option<u32> {
        match self.recorded {
            Some(_) => Some(4096),
            None => mkfs::sector_size(self.backing),
        }
    }

    /// Returns the disks below it, where they record.
    pub fn disks(&self) -> Option<Disks> {
        self.recorded
            .as_ref()
            .map(|recorded| recorded.disks.clone())
    }

    fn memory_name(&self) -> String {
        format!("{}-memory", self.name)
    }

    /// Binds the image to a loop device and returns the device's path.
    fn attach(&mut self, image: &Path) -> Result<PathBuf> {
        self.run.record(&Intent::Loop {
            image: format!("{}.img", self.name),
        })?;
        let options = LoopOptions {
            read_only: false,
            direct_io: true,
            sector_size: self.sector_size(),
        };
        let device = LoopDevice::attach(image, options)?;
        Ok(self.device.insert(device).path().to_path_buf())
    }

    fn make_pool(&mut self, device: &Path) -> Result<()> {
        self.run.record(&Intent::Pool {
            name: self.name.clone(),
        })?;
        let pool = match self.is_made() {
            true => Pool::find(&self.name, device)?,
            false => Pool::create(&self.name, device)?,
        };
        self.pool = Some(pool);
        self.places = Places::of_zpools(Zpools {
            run: Arc::clone(&self.run),
            name: self.name.clone(),
            options: self.options.clone(),
            small: Vec::new(),
        });
        Ok(())
    }

    /// What is mounted: the pool's root data set, or the device.
    fn source(&self) -> Option<PathBuf> {
        match (&self.pool, &self.device) {
            (Some(_), _) => Some(self.name.clone().into()),
            (None, device) => device.as_ref().map(|device| device.path().to_path_buf()),
        }
    }

    fn free_device(&mut self) -> Result<()> {
        if let Some(pool) = &mut self.pool {
            pool.export()?;
        }
        if let Some(device) = &mut self.device {
            device.close()?;
        }
        self.device = None;
        Ok(())
    }

    fn mount_again(&mut self) -> Result<()> {
        if let (Some(pool), Some(device)) = (&mut self.pool, &self.device) {
            pool.import(device.path())?;
        }
        if let Some(pool) = &self.thin {
            pool.activate()?;
            self.spec.source = Some(pool.thin(self.options.bytes, false)?);
            self.places.activate()?;
        }
        let guard = mount(&self.spec, &self.mount_point).map_err(|error| match error.errno() {
            // fsopen(2) of a type that is neither built in nor a module.
            Some(Errno::NODEV) => Error::Missing {
                what: format!("the file system `{}` in this kernel", self.spec.fstype),
                remedy: "load its module or boot a kernel that has it".to_owned(),
            },
            _ => error.into(),
        })?;
        self.mount = Some(guard);
        Ok(())
    }

    /// Returns the kind of file system.
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// Returns where it is mounted.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes a pool larger, with its device.
    pub(crate) fn grow(&mut self, more: u64) -> Result<()> {
        self.options.bytes += more;
        if let (Some(image), Some(device)) = (&self.image, &self.device) {
            let file = io("open", image, File::options().write(true).open(image))?;
            io("ftruncate", image, file.set_len(self.options.bytes))?;
            device.resize()?;
            zpool::expand(&self.name, device.path())?;
        }
        Ok(())
    }

    /// Returns what makes places for drivers that need more than a directory here.
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// Returns the loop device below it; none for tmpfs.
    pub fn device(&self) -> Option<&Path> {
        self.device.as_ref().map(LoopDevice::path)
    }

    /// Unmounts it and mounts it again, with nothing of it left in any cache in between: the
    /// superblock is gone in every mount namespace, which is checked, and so are the pages of the
    /// file behind it. No other cache of the host is touched.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Leaks`] while it is in use, [`Error::NotCold`] where something stays in
    /// memory, and [`Error::Volatile`] for tmpfs.
    pub fn remount(&mut self) -> Result<()> {
        if self.backing == Backing::Tmpfs {
            return Err(Error::Volatile {
                name: self.name.clone(),
            });
        }
        if let Some(mount) = &mut self.mount {
            mount.close()?;
            self.mount = None;
        }
        let exported = self.pool.as_mut().map_or(Ok(()), Pool::export);
        let exported = exported.and_then(|()| self.places.deactivate());
        let exported = exported.and_then(|()| match &self.thin {
            Some(pool) => pool.deactivate(),
            None => Ok(()),
        });
        let cold = exported.and_then(|()| self.cool_down());
        // Mounted again in either case: the caller may go on without a cold cache.
        self.mount_again()?;
        cold
    }

    fn cool_down(&self) -> Result<()> {
        let not_cold = |reason| Error::NotCold {
            name: self.name.clone(),
            reason,
        };
        if let Some(device) = &self.device
            && !is_released(device)?
        {
            let users = loopdev::users(device.path());
            return Err(not_cold(format!("it is still mounted somewhere{users}")));
        }
        // A file on a tmpfs lies in the page cache and nowhere else.
        let thin = self.thin.iter().flat_map(ThinPool::images);
        let images = self.image.iter().map(PathBuf::as_path).chain(thin);
        for image in images.filter(|_| self.options.media == Media::Disk) {
            let file = io("open", image, File::open(image))?;
            page_cache::evict(&file)?;
            let cached = page_cache::cachestat(&file)?.cached;
            if cached > 0 {
                return Err(not_cold(format!(
                    "{cached} pages of its file stay in the page cache"
                )));
            }
        }
        Ok(())
    }

    /// Describes the file system for a result.
    pub fn description(&self) -> Result<Description> {
        let mounts = mountinfo::read_self()?;
        let own = mounts
            .iter()
            .rfind(|mount| mount.mount_point == self.mount_point);
        let below = self
            .image
            .as_ref()
            .and_then(|image| mountinfo::of_path(&mounts, image));
        let program = self.backing.mkfs();
        // The UUID is left out like the device: it says whose file system this is, not what it is.
        let command = mkfs::command(self.backing, self.options.preallocate, None);
        Ok(Description {
            backing: self.backing.name().to_owned(),
            media: match self.backing {
                Backing::Tmpfs => Media::Memory.name().to_owned(),
                _ => self.options.media.name().to_owned(),
            },
            mkfs: command.map(|command| match &self.thin {
                Some(pool) => format!("{pool}; {command}"),
                None => command.to_string(),
            }),
            mkfs_version: program.map(mkfs::version).transpose()?,
            mount_options: own.map(all_options).unwrap_or_default(),
            bytes: self.options.bytes,
            sector_size: self.device.as_ref().map(sector_size).transpose()?,
            loop_direct_io: self.device.as_ref().map(LoopDevice::direct_io),
            preallocated: self.image.as_ref().map(|_| self.options.preallocate),
            below: below.map(|mount| mount.fstype.clone()),
        })
    }

    /// Tears down whatever there is, newest first.
    fn tear_down(&mut self) -> Result<(), Leak> {
        if let Some(mount) = &mut self.mount {
            mount.close()?;
        }
        self.mount = None;
        if let Some(pool) = &mut self.pool {
            pool.close()?;
        }
        self.pool = None;
        self.places.close()?;
        if let Some(pool) = &mut self.thin {
            pool.close()?;
        }
        self.thin = None;
        if let Some(device) = &mut self.device {
            device.close()?;
        }
        self.device = None;
        let leak = |path: &Path, source| Leak {
            what: format!("`{}`", path.display()),
            source,
        };
        if let Some(image) = &self.image {
            absent_is_fine(io("unlink", image, std::fs::remove_file(image)))
                .map_err(|error| leak(image, error))?;
        }
        self.image = None;
        if let Some(memory) = &mut self.memory {
            memory.close()?;
        }
        self.memory = None;
        if let Some(served) = &mut self.served {
            served.close()?;
        }
        self.served = None;
        for directory in [
            &self.mount_point,
            &self.run.directory().join(self.memory_name()),
        ] {
            absent_is_fine(io("rmdir", directory, std::fs::remove_dir(directory)))
                .map_err(|error| leak(directory, error))?;
        }
        Ok(())
    }
}

impl Guard for BackingFs {
    fn describe(&self) -> String {
        format!(
            "the {} file system at `{}`",
            self.backing,
            self.mount_point.display()
        )
    }

    fn close(&mut self) -> Result<(), Leak> {
        if self.run.is_over() {
            // The run took it down, or keeps it.
            for mount in [self.mount.take(), self.memory.take()]
                .into_iter()
                .flatten()
            {
                mount.keep();
            }
            if let Some(pool) = self.pool.take() {
                pool.keep();
            }
            self.places.keep();
            if let Some(served) = self.served.take() {
                served.keep();
            }
            if let Some(pool) = self.thin.take() {
                pool.keep();
            }
            self.device.take().map(LoopDevice::keep);
            return Ok(());
        }
        self.tear_down()
    }
}

impl Drop for BackingFs {
    fn drop(&mut self) {
        if let Err(leak) = self.close() {
            tracing::error!(%leak, "a backing file system is left for the run to take down");
        }
    }
}

/// Waits a moment for the file system on a device to be gone in every mount namespace.
fn is_released(device: &LoopDevice) -> Result<bool> {
    for _ in 0..RELEASE_CHECKS {
        if !device.is_in_use()? {
            return Ok(true);
        }
        std::thread::sleep(RELEASE_PAUSE);
    }
    Ok(!device.is_in_use()?)
}

fn absent_is_fine(result: cowlab_sys::Result<()>) -> cowlab_sys::Result<()> {
    match result {
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(()),
        result => result,
    }
}
