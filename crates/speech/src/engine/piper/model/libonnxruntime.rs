//! The C library of ONNX Runtime, opened at run time, behind a safe interface.
//!
//! Its functions are the entries of one table, `struct OrtApi`. Later versions
//! only append to it, so an entry's position holds for ever; declarations and
//! positions are after `onnxruntime_c_api.h` of ONNX Runtime 1.13.

#![expect(unsafe_code, reason = "the one place where the C library is called")]

use std::error::Error;
use std::ffi::{CStr, CString, NulError, OsStr, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;

use hoiam_text::SaturatingFrom as _;
use libloading::Library;

/// Where no path is configured, the loader finds it by one of these.
const NAMES: [&str; 2] = ["libonnxruntime.so.1", "libonnxruntime.so"];

/// The version of the table that is asked for: that of the header.
const API_VERSION: u32 = 13;

/// Errors come as the answers of calls; the log would tell them once more.
const LOG_LEVEL_FATAL: c_int = 4;
const DEVICE_ALLOCATOR: c_int = 0;
const MEMORY_DEFAULT: c_int = 0;
const ELEMENT_FLOAT: c_int = 1;
const ELEMENT_INT64: c_int = 7;

/// Threads of a network that has nothing to do sleep, and leave the processor
/// to other workers.
const ALLOW_SPINNING: (&CStr, &CStr) = (c"session.intra_op.allow_spinning", c"0");

/// Why something that the library was asked for has not come of it.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum OnnxRuntimeError {
    /// In the library's own words.
    #[error("{0}")]
    Refused(String),
    /// A network that gives something else than samples.
    #[error("it gives numbers of the type {0}")]
    NotFloats(c_int),
    #[error(transparent)]
    Name(#[from] NulError),
}

/// Why the library cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// By none of the names that it may have.
    #[error("{}", .0.iter().map(reason).collect::<Vec<_>>().join("; "))]
    NotFound(Vec<libloading::Error>),
    #[error("{}", reason(.0))]
    NotOnnxRuntime(libloading::Error),
    #[error("ONNX Runtime {0} is too old: it must be 1.{API_VERSION} or later")]
    TooOld(String),
    #[error(transparent)]
    Refused(#[from] OnnxRuntimeError),
}

/// Something that the library has made: a session, a value.
type Handle = *mut c_void;

/// Null where a call has done what it should, else what holds the message.
type Status = *mut c_void;

type Release = unsafe extern "C" fn(Handle);

/// `struct OrtApiBase`, which `OrtGetApiBase` answers.
#[repr(C)]
struct ApiBase {
    get_api: unsafe extern "C" fn(version: u32) -> *const Entry,
    get_version: unsafe extern "C" fn() -> *const c_char,
}

/// One function of the table, of whichever type.
type Entry = *const c_void;

/// The functions that are called here.
struct Functions {
    get_error_message: unsafe extern "C" fn(Status) -> *const c_char,
    create_env: unsafe extern "C" fn(c_int, *const c_char, *mut Handle) -> Status,
    create_session: CreateSession,
    run: Run,
    create_session_options: unsafe extern "C" fn(*mut Handle) -> Status,
    set_intra_op_threads: unsafe extern "C" fn(Handle, c_int) -> Status,
    set_inter_op_threads: unsafe extern "C" fn(Handle, c_int) -> Status,
    add_config_entry: unsafe extern "C" fn(Handle, *const c_char, *const c_char) -> Status,
    input_count: unsafe extern "C" fn(Handle, *mut usize) -> Status,
    output_count: unsafe extern "C" fn(Handle, *mut usize) -> Status,
    input_name: NameAt,
    output_name: NameAt,
    create_tensor: CreateTensor,
    tensor_data: unsafe extern "C" fn(Handle, *mut *mut c_void) -> Status,
    tensor_info: unsafe extern "C" fn(Handle, *mut Handle) -> Status,
    element_type: unsafe extern "C" fn(Handle, *mut c_int) -> Status,
    element_count: unsafe extern "C" fn(Handle, *mut usize) -> Status,
    create_memory_info: unsafe extern "C" fn(c_int, c_int, *mut Handle) -> Status,
    default_allocator: unsafe extern "C" fn(*mut Handle) -> Status,
    allocator_free: unsafe extern "C" fn(Handle, *mut c_void) -> Status,
    release_env: Release,
    release_status: Release,
    release_memory_info: Release,
    release_session: Release,
    release_value: Release,
    release_tensor_info: Release,
    release_session_options: Release,
}

type CreateSession =
    unsafe extern "C" fn(Handle, *const c_void, usize, Handle, *mut Handle) -> Status;

type Run = unsafe extern "C" fn(
    session: Handle,
    options: Handle,
    input_names: *const *const c_char,
    inputs: *const Handle,
    input_count: usize,
    output_names: *const *const c_char,
    output_count: usize,
    outputs: *mut Handle,
) -> Status;

type NameAt = unsafe extern "C" fn(Handle, usize, Handle, *mut *mut c_char) -> Status;

type CreateTensor = unsafe extern "C" fn(
    memory_info: Handle,
    data: *mut c_void,
    data_bytes: usize,
    shape: *const i64,
    dimensions: usize,
    element: c_int,
    *mut Handle,
) -> Status;

impl Functions {
    /// # Safety
    ///
    /// `table` must be an `OrtApi` of at least the version [`API_VERSION`].
    unsafe fn of(table: *const Entry) -> Self {
        // SAFETY: the positions and types are those of the header.
        unsafe {
            Self {
                get_error_message: entry(table, 2),
                create_env: entry(table, 3),
                create_session: entry(table, 8),
                run: entry(table, 9),
                create_session_options: entry(table, 10),
                set_intra_op_threads: entry(table, 24),
                set_inter_op_threads: entry(table, 25),
                input_count: entry(table, 30),
                output_count: entry(table, 31),
                input_name: entry(table, 36),
                output_name: entry(table, 37),
                create_tensor: entry(table, 49),
                tensor_data: entry(table, 51),
                element_type: entry(table, 60),
                element_count: entry(table, 64),
                tensor_info: entry(table, 65),
                create_memory_info: entry(table, 69),
                allocator_free: entry(table, 76),
                default_allocator: entry(table, 78),
                release_env: entry(table, 92),
                release_status: entry(table, 93),
                release_memory_info: entry(table, 94),
                release_session: entry(table, 95),
                release_value: entry(table, 96),
                release_tensor_info: entry(table, 99),
                release_session_options: entry(table, 100),
                add_config_entry: entry(table, 130),
            }
        }
    }

    /// What a function has made.
    fn made(
        &self,
        release: Release,
        make: impl FnOnce(*mut Handle) -> Status,
    ) -> Result<Owned, OnnxRuntimeError> {
        let mut handle = null_mut();
        self.check(make(&raw mut handle))?;
        Ok(Owned { handle, release })
    }

    /// Takes the message out of a status that is not null.
    fn check(&self, status: Status) -> Result<(), OnnxRuntimeError> {
        if status.is_null() {
            return Ok(());
        }
        // SAFETY: the message is a C string that lives as long as the status,
        // which is released once.
        unsafe {
            let message = text((self.get_error_message)(status));
            (self.release_status)(status);
            Err(OnnxRuntimeError::Refused(message))
        }
    }

    /// Copies the numbers of a tensor.
    fn floats(&self, value: &Owned) -> Result<Vec<f32>, OnnxRuntimeError> {
        // SAFETY: the function only writes the handle.
        let info = self.made(self.release_tensor_info, |info| unsafe {
            (self.tensor_info)(value.handle, info)
        })?;
        let (mut element, mut count, mut data) = (0, 0, null_mut());
        // SAFETY: the functions only write.
        unsafe {
            self.check((self.element_type)(info.handle, &raw mut element))?;
            self.check((self.element_count)(info.handle, &raw mut count))?;
            self.check((self.tensor_data)(value.handle, &raw mut data))?;
        }
        if element != ELEMENT_FLOAT {
            return Err(OnnxRuntimeError::NotFloats(element));
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        // SAFETY: the tensor holds so many numbers of this type, and lives as
        // long as `value`.
        Ok(unsafe { std::slice::from_raw_parts(data.cast::<f32>(), count) }.to_vec())
    }
}

/// # Safety
///
/// `F` must be the type of the function at this position.
unsafe fn entry<F: Copy>(table: *const Entry, position: usize) -> F {
    // SAFETY: the caller vouches for the type; a function is a pointer.
    unsafe { table.add(position).cast::<F>().read() }
}

/// A [`Handle`] that is ours to release.
struct Owned {
    handle: Handle,
    release: Release,
}

// SAFETY: nothing that the library makes belongs to a thread, and what it makes
// may be used by several at once (sessions) or is used by one (the rest).
unsafe impl Send for Owned {}
// SAFETY: what is shared by reference is only read.
unsafe impl Sync for Owned {}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: `release` is the function for this kind of handle, which is
        // released here and nowhere else; null is allowed.
        unsafe { (self.release)(self.handle) }
    }
}

/// The opened library.
pub(in super::super) struct LibOnnxRuntime {
    functions: Functions,
    env: Owned,
    memory_info: Owned,
    /// Keeps the functions where they are.
    _library: Library,
}

/// Loads it for good; what is wrong with it is told by who opens it.
pub(super) fn load(path: Option<&Path>) {
    std::mem::forget(library(path));
}

impl LibOnnxRuntime {
    /// Opens the library at this path, or else where the loader finds it. It
    /// stays open as long as the process lives.
    pub(super) fn open(path: Option<&Path>) -> Result<&'static Self, OpenError> {
        let opened = Self::of(library(path)?)?;
        Ok(Box::leak(Box::new(opened)))
    }

    fn of(library: Library) -> Result<Self, OpenError> {
        // SAFETY: the function has this type since the first version, and it
        // answers a table that lives as long as the library is loaded.
        let (table, version) = unsafe {
            let get_base = library.get::<unsafe extern "C" fn() -> *const ApiBase>("OrtGetApiBase");
            let base = (get_base.map_err(OpenError::NotOnnxRuntime)?)();
            (
                ((*base).get_api)(API_VERSION),
                text(((*base).get_version)()),
            )
        };
        if table.is_null() {
            return Err(OpenError::TooOld(version));
        }
        // SAFETY: it is the table of the version that was asked for.
        let functions = unsafe { Functions::of(table) };
        // SAFETY: the name is a C string, which is copied.
        let env = functions.made(functions.release_env, |env| unsafe {
            (functions.create_env)(LOG_LEVEL_FATAL, c"hoiam".as_ptr(), env)
        })?;
        // SAFETY: plain numbers.
        let memory_info = functions.made(functions.release_memory_info, |info| unsafe {
            (functions.create_memory_info)(DEVICE_ALLOCATOR, MEMORY_DEFAULT, info)
        })?;
        Ok(Self {
            functions,
            env,
            memory_info,
            _library: library,
        })
    }

    /// Takes a network out of the bytes of a model's file.
    pub(super) fn session(
        &'static self,
        model: &[u8],
        threads: usize,
    ) -> Result<Session, OnnxRuntimeError> {
        let functions = &self.functions;
        let options = self.options(threads)?;
        // SAFETY: the bytes are valid for their length and only read, during
        // this call; the options are copied.
        let session = functions.made(functions.release_session, |session| unsafe {
            (functions.create_session)(
                self.env.handle,
                model.as_ptr().cast(),
                model.len(),
                options.handle,
                session,
            )
        })?;
        Ok(Session {
            session,
            library: self,
        })
    }

    fn options(&self, threads: usize) -> Result<Owned, OnnxRuntimeError> {
        let functions = &self.functions;
        let threads = c_int::saturating_from(threads);
        // SAFETY: the function only writes the handle.
        let options = functions.made(functions.release_session_options, |options| unsafe {
            (functions.create_session_options)(options)
        })?;
        let (key, value) = ALLOW_SPINNING;
        // SAFETY: the options live through the calls; the texts are C strings,
        // which are copied.
        unsafe {
            functions.check((functions.set_intra_op_threads)(options.handle, threads))?;
            functions.check((functions.set_inter_op_threads)(options.handle, 1))?;
            functions.check((functions.add_config_entry)(
                options.handle,
                key.as_ptr(),
                value.as_ptr(),
            ))?;
        }
        Ok(options)
    }

    /// A tensor over the numbers of an input, which must outlive it.
    fn tensor(&self, input: &Input<'_>) -> Result<Owned, OnnxRuntimeError> {
        let functions = &self.functions;
        let (data, bytes, element) = match input.numbers {
            Numbers::Whole(numbers) => (
                numbers.as_ptr().cast::<c_void>(),
                size_of_val(numbers),
                ELEMENT_INT64,
            ),
            Numbers::Real(numbers) => (
                numbers.as_ptr().cast::<c_void>(),
                size_of_val(numbers),
                ELEMENT_FLOAT,
            ),
        };
        // SAFETY: the numbers are valid for their bytes, and what is run only
        // reads them; that the shape does not need more is checked.
        functions.made(functions.release_value, |tensor| unsafe {
            (functions.create_tensor)(
                self.memory_info.handle,
                data.cast_mut(),
                bytes,
                input.shape.as_ptr(),
                input.shape.len(),
                element,
                tensor,
            )
        })
    }
}

/// Numbers for a network.
pub(super) struct Input<'a> {
    pub name: &'static str,
    pub shape: &'a [i64],
    pub numbers: Numbers<'a>,
}

pub(super) enum Numbers<'a> {
    Whole(&'a [i64]),
    Real(&'a [f32]),
}

/// A network that can be run.
pub(super) struct Session {
    session: Owned,
    library: &'static LibOnnxRuntime,
}

impl Session {
    /// The names of what it takes.
    pub(super) fn inputs(&self) -> Result<Vec<String>, OnnxRuntimeError> {
        let functions = &self.library.functions;
        self.names(functions.input_count, functions.input_name)
    }

    /// The names of what it gives.
    pub(super) fn outputs(&self) -> Result<Vec<String>, OnnxRuntimeError> {
        let functions = &self.library.functions;
        self.names(functions.output_count, functions.output_name)
    }

    fn names(
        &self,
        count: unsafe extern "C" fn(Handle, *mut usize) -> Status,
        name_at: NameAt,
    ) -> Result<Vec<String>, OnnxRuntimeError> {
        let functions = &self.library.functions;
        let (mut number, mut allocator) = (0, null_mut());
        // SAFETY: both only write; the allocator is the library's own and is
        // never released.
        unsafe {
            functions.check(count(self.session.handle, &raw mut number))?;
            functions.check((functions.default_allocator)(&raw mut allocator))?;
        }
        let name = |at| {
            let mut name = null_mut();
            // SAFETY: `at` is below the count; the name is a C string of that
            // allocator, which is copied before it is freed.
            unsafe {
                functions.check(name_at(self.session.handle, at, allocator, &raw mut name))?;
                let copy = text(name);
                functions.check((functions.allocator_free)(allocator, name.cast()))?;
                Ok(copy)
            }
        };
        (0..number).map(name).collect()
    }

    /// Runs the network and answers the outputs of these names, flat.
    pub(super) fn run(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
    ) -> Result<Vec<Vec<f32>>, OnnxRuntimeError> {
        let functions = &self.library.functions;
        let input_names = c_strings(inputs.iter().map(|input| input.name))?;
        let output_names = c_strings(outputs.iter().copied())?;
        let tensors = inputs.iter().map(|input| self.library.tensor(input));
        let tensors: Vec<Owned> = tensors.collect::<Result<_, _>>()?;
        let handles: Vec<Handle> = tensors.iter().map(|tensor| tensor.handle).collect();
        let mut made = vec![null_mut(); outputs.len()];
        // SAFETY: each array is as long as is said; names and tensors live
        // through the call and are only read; no options are the usual ones.
        let status = unsafe {
            (functions.run)(
                self.session.handle,
                null_mut(),
                pointers(&input_names).as_ptr(),
                handles.as_ptr(),
                handles.len(),
                pointers(&output_names).as_ptr(),
                outputs.len(),
                made.as_mut_ptr(),
            )
        };
        let own = |handle| Owned {
            handle,
            release: functions.release_value,
        };
        let made: Vec<Owned> = made.into_iter().map(own).collect();
        functions.check(status)?;
        made.iter().map(|value| functions.floats(value)).collect()
    }
}

/// The first library that can be opened.
fn library(path: Option<&Path>) -> Result<Library, OpenError> {
    let names: Vec<&OsStr> = match path {
        Some(path) => vec![path.as_os_str()],
        None => NAMES.iter().map(OsStr::new).collect(),
    };
    let mut failed = Vec::new();
    for name in names {
        // SAFETY: the library is ONNX Runtime, whose initialisers only fill
        // what is its own.
        match unsafe { Library::new(name) } {
            Ok(library) => return Ok(library),
            Err(error) => failed.push(error),
        }
    }
    Err(OpenError::NotFound(failed))
}

/// What the loader said, which the error itself leaves out.
fn reason(error: &libloading::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

fn c_strings<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<CString>, NulError> {
    texts.map(CString::new).collect()
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).collect()
}

/// # Safety
///
/// `text` must be null or a C string.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: it is a C string, as the caller says.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
