// A bundle on ONNX Runtime from Rust, without a crate: the logits and probabilities of one raw picture.
//
//   rustc -O onnxruntime.rs -o predict && ./predict /path/to/libonnxruntime.so.1 NAME.zoo PICTURE
//
// The library is that of a release of ONNX Runtime, of its Python wheel or of its package for node. A picture is a PPM
// (P6, 8 bit) or a PGM (P5, 16 bit), without comments. With crates, the crate `ort` is more comfortable.
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::ptr::{null, null_mut};

type Call = *const c_void; // a function of the table, to be cast to its signature in onnxruntime_c_api.h
type Out = *mut *mut c_void;
extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *const c_void;
}

/// Calls entry `$at` of the OrtApi table, whose order never changes, and panics with what it answers if it fails.
macro_rules! ort {
    ($api:expr, $at:expr, $($value:expr => $kind:ty),+) => {{
        let call: extern "C" fn($($kind),+) -> *const c_void = std::mem::transmute(*$api.add($at));
        let status = call($($value),+);
        if !status.is_null() {
            let message: extern "C" fn(*const c_void) -> *const c_char = std::mem::transmute(*$api.add(2));
            panic!("{}", CStr::from_ptr(message(status)).to_string_lossy());
        }
    }};
}

fn main() {
    std::env::set_var("ORT_DISABLE_TELEMETRY", "1"); // its packages report to their maker otherwise
    let given: Vec<String> = std::env::args().collect();
    let [_, library, bundle, picture] = &given[..] else { panic!("usage: predict LIBRARY NAME.zoo PICTURE") };
    let text = |value: &str| CString::new(value).unwrap();
    let file = std::fs::read(picture).expect("the picture cannot be read");
    let parts: Vec<&[u8]> = file.splitn(5, u8::is_ascii_whitespace).collect();
    let [kind, width, height, brightest, pixels] = parts[..] else { panic!("not a PPM or PGM") };
    let (side, mut pixels) = (|word| String::from_utf8_lossy(word).parse::<i64>().expect("no side"), pixels.to_vec());
    let deep = kind == b"P5" && side(brightest) > 255;
    assert!(deep || kind == b"P6" && brightest == b"255", "expected a PPM of 8 bits or a PGM of 16");
    if deep { pixels.chunks_exact_mut(2).for_each(|two| two.swap(0, 1)); } // a PGM is big-endian
    let (channels, element) = if deep { (1, 4) } else { (3, 2) }; // ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, _UINT8
    let shape = [1, side(height), side(width), channels];
    let manifest = std::fs::read_to_string(format!("{bundle}/manifest.json")).expect("no manifest.json");
    let labels = manifest.split_once("\"labels\"").unwrap().1.split_once(']').unwrap().0; // names without quotes
    let labels: Vec<&str> = labels.split('"').skip(1).step_by(2).collect();
    let brightest = pixels.chunks_exact(2).map(|two| u16::from_ne_bytes([two[0], two[1]])).max().unwrap_or(0);
    for rest in manifest.split("\"maximum\":").skip(1) { // the range of a network, and nothing else in a manifest
        let most: f64 = rest.split(['}', ',']).next().unwrap().trim().parse().expect("no number");
        assert!(!deep || f64::from(brightest) <= most, "a pixel has the value {brightest}, expected 0 to {most}");
    }
    let model = text(&format!("{bundle}/model.onnx"));
    let [input, logits, probabilities] = ["image", "logits", "probabilities"].map(text);
    let (inputs, outputs) = ([input.as_ptr()], [logits.as_ptr(), probabilities.as_ptr()]);
    let (mut environment, mut options, mut session) = (null_mut(), null_mut(), null_mut());
    let (mut memory, mut image, mut answers) = (null_mut(), null_mut(), [null_mut::<c_void>(); 2]);
    unsafe {
        let opened = dlopen(text(library).as_ptr(), 2); // RTLD_NOW
        assert!(!opened.is_null(), "{library} cannot be opened");
        let base: extern "C" fn() -> *const Call = std::mem::transmute(dlsym(opened, text("OrtGetApiBase").as_ptr()));
        let get_api: extern "C" fn(u32) -> *const Call = std::mem::transmute(*base());
        let api = get_api(16); // any release from 1.16 on
        ort!(api, 3, 3 => c_int, text("zoo").as_ptr() => *const c_char, &mut environment => Out); // CreateEnv
        ort!(api, 10, &mut options => Out); // CreateSessionOptions
        ort!(api, 7, environment => *mut c_void, model.as_ptr() => *const c_char, options => *mut c_void,
            &mut session => Out); // CreateSession
        ort!(api, 69, 1 => c_int, 0 => c_int, &mut memory => Out); // CreateCpuMemoryInfo
        ort!(api, 49, memory => *mut c_void, pixels.as_mut_ptr() => *mut u8, pixels.len() => usize,
            shape.as_ptr() => *const i64, 4 => usize, element => c_int, &mut image => Out); // CreateTensorWithData…
        ort!(api, 9, session => *mut c_void, null() => *const c_void, inputs.as_ptr() => *const *const c_char,
            &image => *const *mut c_void, 1 => usize, outputs.as_ptr() => *const *const c_char, 2 => usize,
            answers.as_mut_ptr() => Out); // Run
        let [logits, probabilities] = answers.map(|answer| {
            let mut data = null_mut();
            ort!(api, 51, answer => *mut c_void, &mut data => Out); // GetTensorMutableData
            std::slice::from_raw_parts(data as *const f32, labels.len())
        });
        labels.iter().enumerate().for_each(|(at, one)| println!("{}\t{}\t{one}", logits[at], probabilities[at]));
    }
}
