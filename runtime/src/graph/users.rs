//! The containers that use an image, as the graph knows them: what keeps an image, and nothing more.

use rusqlite::{Transaction, params};

use super::{Graph, now, rows};
use crate::Result;

/// A container that uses an image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct UserRow {
    /// The container's id.
    pub id: String,
    /// The container's name.
    pub name: String,
    /// The image's id.
    pub image: String,
}

impl Graph {
    /// Records that a container uses an image. Written before the container's snapshot is made, and with `durability` durable
    /// then.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database), when there is no such image for example.
    pub fn add_user(&self, user: &UserRow, durability: bool) -> Result<()> {
        let add = |tx: &Transaction<'_>| {
            tx.execute(
                "INSERT INTO users (id, name, image, created) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, image = excluded.image",
                params![user.id, user.name, user.image, now()],
            )
            .map(drop)
        };
        match durability {
            true => self.write(add),
            false => self.write_unflushed(add),
        }
    }

    /// Forgets a container. Written after its snapshot is gone; where a power cut takes that back, the row is one of a
    /// container that is not there. One that is not there is no error.
    pub fn remove_user(&self, id: &str) -> Result<()> {
        self.write_unflushed(|tx| {
            tx.execute("DELETE FROM users WHERE id = ?1", [id])
                .map(drop)
        })
    }

    /// The containers that use an image, or all of them, oldest first.
    pub fn users(&self, image: Option<&str>) -> Result<Vec<UserRow>> {
        self.read(|tx| {
            rows(
                tx,
                "SELECT id, name, image FROM users WHERE ?1 IS NULL OR image = ?1 ORDER BY created, id",
                [image],
                |row| {
                    Ok(UserRow {
                        id: row.get(0)?,
                        name: row.get(1)?,
                        image: row.get(2)?,
                    })
                },
            )
        })
    }
}
