//! `upload`: a project's migrations as `prisma.zip` in S3, and the task that this starts followed to its end.

use super::clients::Clients;
use super::interrupt::Interrupt;
use super::place::{Need, Place};
use super::uploaded::Uploaded;
use super::wait::{Wait, artifact, stored};
use super::zip::{self, NOT_UPLOADED, Packed};
use crate::artifact::Origin;
use crate::artifact::s3::{self, Address};
use crate::cli::UploadArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::hazard::size;
use crate::migration::sha256;
use crate::outcome::{ArtifactRead, Outcome};
use std::path::Path;
use std::time::Instant;

/// Packs, uploads and waits.
///
/// # Errors
/// The migrations cannot be used, the upload was refused, or as [`super::wait::wait`].
pub async fn upload(args: &UploadArgs, interrupt: &mut Interrupt, own: &Outcome) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let packed = interrupt
        .unless(zip::pack(&args.folder, args.migrations_path.as_deref()))
        .await??;
    for warning in &packed.warnings {
        tracing::warn!("{warning}");
    }
    let hash = sha256(&packed.bytes);
    if let Some(file) = &args.output {
        write(file, &packed.bytes)?;
        tracing::info!("packed {} as {}, sha256 {hash}", said(&packed), file.display());
        let origin = Origin::Zip {
            path: file.clone(),
            size: packed.bytes.len() as u64,
        };
        return Ok(done(own, packed, origin, began));
    }
    let place = interrupt.unless(where_to(args)).await??;
    let object = artifact(&args.upload, place.as_ref().map(|(_, place)| place))?;
    let uploaded = interrupt.unless(put(&object, &packed)).await??;
    tracing::info!("uploaded {} as {uploaded}, sha256 {hash}", said(&packed));
    match place {
        Some((clients, place)) if !args.no_wait => {
            let wait = Wait {
                clients: &clients,
                place: &place,
                args: &args.place,
                uploaded: &uploaded,
                start_within: args.upload.start_within,
                own,
            };
            wait.for_upload(interrupt).await
        }
        _ => {
            let origin = Origin::S3 {
                bucket: object.bucket,
                key: object.key,
                version_id: uploaded.object.version_id,
                etag: uploaded.object.etag,
                size: packed.bytes.len() as u64,
            };
            Ok(done(own, packed, origin, began))
        }
    }
}

/// Where the tasks run; none where nobody waits for one and the flags say where to upload.
async fn where_to(args: &UploadArgs) -> Result<Option<(Clients, Place)>, Failure> {
    if args.no_wait && args.upload.artifact.is_some() {
        return Ok(None);
    }
    let clients = Clients::of_environment().await?;
    let place = Place::find(&clients, &args.place, Need::Follow)
        .await
        .map_err(|failure| Failure {
            state: NOT_UPLOADED.to_owned(),
            ..failure
        })?;
    Ok(Some((clients, place)))
}

async fn put(object: &Address, packed: &Packed) -> Result<Uploaded, Failure> {
    let put = s3::put(object, "application/zip", packed.bytes.clone())
        .await
        .map_err(|error| {
            let next = error.next_step().replace("the task role", "these credentials");
            Failure::new(
                Exit::Usage,
                format!(
                    "prisma.zip could not be uploaded to s3://{}/{}: {error}",
                    object.bucket, object.key
                ),
                next,
            )
        })?;
    let exactly = Address {
        version_id: put.version_id,
        etag: put.etag,
        ..object.clone()
    };
    // When it was stored tells its task from one of the same bytes before it.
    Ok(match stored(exactly.clone()).await {
        Ok(found) if found.object.etag == exactly.etag => Uploaded {
            object: exactly,
            stored_at: found.stored_at,
        },
        _ => Uploaded {
            object: exactly,
            stored_at: None,
        },
    })
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(file, bytes).map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("the zip could not be written to {}: {error}", file.display()),
            "give a file that can be written",
        )
    })
}

fn said(packed: &Packed) -> String {
    let migrations = match packed.migrations {
        1 => "1 migration".to_owned(),
        migrations => format!("{migrations} migrations"),
    };
    format!("{migrations} ({})", size::bytes(packed.bytes.len() as u64))
}

/// The outcome where nothing is waited for.
fn done(own: &Outcome, packed: Packed, origin: Origin, began: Instant) -> Outcome {
    let mut outcome = Outcome::new("upload", own.run_id.clone());
    outcome.artifact = Some(ArtifactRead {
        origin,
        migrations_path: packed.migrations_path,
        migrations: packed.migrations,
        migrations_sha256: packed.migrations_sha256,
    });
    outcome.warnings = packed.warnings;
    outcome.end(Ok(Exit::Success), began.elapsed());
    outcome
}
