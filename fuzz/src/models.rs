//! The file of a network, rewritten for ONNX Runtime. Running it is not tried: what a
//! network does is between it and the child.

use hoiam_speech::engine::piper;

pub fn check(data: &[u8]) {
    let prepare = |wide| piper::prepared_for_onnx_runtime(data.to_vec(), wide);
    for wide in [false, true] {
        let Ok(prepared) = prepare(wide) else {
            return;
        };
        assert_eq!(
            Ok(&prepared),
            prepare(wide).as_ref(),
            "it is always the same"
        );
        let again = piper::prepared_for_onnx_runtime(prepared, false);
        again.expect("it can be read");
    }
}
