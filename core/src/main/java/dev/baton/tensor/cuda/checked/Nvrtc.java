package dev.baton.tensor.cuda.checked;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.raw.LibNvrtc;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Collection;
import java.util.List;
import java.util.Map;

/// Compiles CUDA C++ for one kind of device while the program runs.
///
/// Safe to share between threads.
public final class Nvrtc {
    private final LibNvrtc lib;

    /// Loads the compiler.
    ///
    /// @throws TensorException in one sentence if it is missing
    public Nvrtc(Map<String, String> environment) {
        this.lib = new LibNvrtc(environment);
    }

    /// For example `13.0`.
    public String version() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_INT, 2);
            check(lib.nvrtcVersion(out, out.asSlice(JAVA_INT.byteSize())), "asking for NVRTC's version");
            return out.getAtIndex(JAVA_INT, 0) + "." + out.getAtIndex(JAVA_INT, 1);
        }
    }

    /// Machine code of a source.
    ///
    /// @param name of the source, for messages
    /// @param headers what the source includes, name to text
    /// @param options for example `--gpu-architecture=sm_90a`
    /// @throws TensorException with the compiler's log if the source is wrong
    public byte[] compile(String name, String source, Map<String, String> headers, List<String> options) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_LONG);
            check(
                    lib.nvrtcCreateProgram(
                            out,
                            arena.allocateFrom(source),
                            arena.allocateFrom(name),
                            headers.size(),
                            texts(arena, headers.values()),
                            texts(arena, headers.keySet())),
                    "reading " + name);
            long program = out.get(JAVA_LONG, 0);
            try {
                int status = lib.nvrtcCompileProgram(program, options.size(), texts(arena, options));
                if (status != 0) {
                    throw new TensorException("NVRTC cannot compile " + name + " with " + options + " ("
                            + Cuda.text(lib.nvrtcGetErrorString(status)) + "):\n" + log(program, arena));
                }
                check(lib.nvrtcGetCUBINSize(program, out), "reading the size of " + name);
                MemorySegment code = arena.allocate(out.get(JAVA_LONG, 0));
                check(lib.nvrtcGetCUBIN(program, code), "reading the code of " + name);
                return code.toArray(JAVA_BYTE);
            } finally {
                out.set(JAVA_LONG, 0, program);
                check(lib.nvrtcDestroyProgram(out), "ending " + name);
            }
        }
    }

    /// An array of addresses of texts.
    private static MemorySegment texts(Arena arena, Collection<String> texts) {
        MemorySegment pointers = arena.allocate(ADDRESS, Math.max(1, texts.size()));
        int i = 0;
        for (String text : texts) {
            pointers.setAtIndex(ADDRESS, i++, arena.allocateFrom(text));
        }
        return pointers;
    }

    private String log(long program, Arena arena) {
        MemorySegment size = arena.allocate(JAVA_LONG);
        check(lib.nvrtcGetProgramLogSize(program, size), "reading the compiler's log");
        MemorySegment log = arena.allocate(Math.max(1, size.get(JAVA_LONG, 0)));
        check(lib.nvrtcGetProgramLog(program, log), "reading the compiler's log");
        return log.getString(0);
    }

    private void check(int status, String doing) {
        if (status != 0) {
            throw new TensorException(Cuda.text(lib.nvrtcGetErrorString(status)) + " while " + doing);
        }
    }
}
