package dev.baton.tensor.cuda.raw;

import static java.lang.foreign.SymbolLookup.*;

import dev.baton.tensor.TensorException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Supplier;

/// One shared library, found by the names it goes by: first as the system's loader finds it, then in the
/// folders of a CUDA toolkit that `CUDA_HOME` or `CUDA_PATH` names, then where its Python package would be. Never
/// unloaded.
///
/// Immutable, so safe to share.
final class NativeLibrary {
    private static final List<String> TOOLKIT_VARIABLES = List.of("CUDA_HOME", "CUDA_PATH");
    private static final List<String> TOOLKIT_FOLDERS = List.of("lib64", "targets/x86_64-linux/lib", "lib");

    private final String what;
    private final SymbolLookup symbols;

    private NativeLibrary(String what, SymbolLookup symbols) {
        this.what = what;
        this.symbols = symbols;
    }

    /// Loads a library.
    ///
    /// @param what its name for people, for example `NVRTC`
    /// @param sonames file names to try, the preferred one first
    /// @param remedy what to do if it is missing, a clause
    /// @throws TensorException in one sentence if there is none of them
    static NativeLibrary load(String what, List<String> sonames, String remedy, Map<String, String> environment) {
        return load(what, sonames, remedy, environment, List::of);
    }

    /// Loads a library.
    ///
    /// @param others files to try last; asked for only then
    /// @throws TensorException in one sentence if there is none of them
    static NativeLibrary load(
            String what,
            List<String> sonames,
            String remedy,
            Map<String, String> environment,
            Supplier<List<Path>> others) {
        return open(what, candidates(sonames, environment))
                .or(() -> open(what, others.get().stream().map(Path::toString).toList()))
                .orElseThrow(() -> new TensorException(
                        what + " is missing: none of " + String.join(", ", sonames) + " can be loaded; " + remedy));
    }

    private static Optional<NativeLibrary> open(String what, List<String> candidates) {
        for (String candidate : candidates) {
            try {
                return Optional.of(new NativeLibrary(what, libraryLookup(candidate, Arena.global())));
            } catch (IllegalArgumentException e) {
                // not this one; what the caller throws names all that were tried
            }
        }
        return Optional.empty();
    }

    /// What to hand to the loader, in order: plain names, then files of a toolkit that exist.
    static List<String> candidates(List<String> sonames, Map<String, String> environment) {
        List<String> candidates = new ArrayList<>(sonames);
        for (String variable : TOOLKIT_VARIABLES) {
            String home = environment.getOrDefault(variable, "");
            for (String folder : home.isEmpty() ? List.<String>of() : TOOLKIT_FOLDERS) {
                for (String soname : sonames) {
                    Path file = Path.of(home, folder, soname);
                    if (Files.exists(file)) {
                        candidates.add(file.toString());
                    }
                }
            }
        }
        return candidates;
    }

    /// A function of the library that gives back a status.
    ///
    /// @throws TensorException if the library is too old to have it
    MethodHandle status(String name, MemoryLayout... parameters) {
        return handle(name, FunctionDescriptor.of(ValueLayout.JAVA_INT, parameters));
    }

    /// A function that gives back a number of 64 bits.
    MethodHandle number(String name, MemoryLayout... parameters) {
        return handle(name, FunctionDescriptor.of(ValueLayout.JAVA_LONG, parameters));
    }

    /// A function that gives back a text of the library's.
    MethodHandle text(String name, MemoryLayout... parameters) {
        return handle(name, FunctionDescriptor.of(ValueLayout.ADDRESS, parameters));
    }

    private MethodHandle handle(String name, FunctionDescriptor type) {
        return Linker.nativeLinker()
                .downcallHandle(
                        symbols.find(name)
                                .orElseThrow(() -> new TensorException(
                                        what + " has no function " + name + "; it is older than this program needs")),
                        type);
    }

    /// What a downcall threw: never a CUDA error, which is a status.
    static RuntimeException unexpected(Throwable thrown) {
        if (thrown instanceof Error error) {
            throw error;
        }
        return thrown instanceof RuntimeException e
                ? e
                : new TensorException("a native call failed: " + thrown, thrown);
    }
}
