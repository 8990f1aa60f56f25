package dev.baton.tensor;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.invoke.MethodHandle;
import java.util.Optional;

/// Functions of Linux' C library, found at run time. Stateless, so safe to use from several threads.
final class LibC {
    private LibC() {}

    /// A function; empty on other operating systems, where the library lacks it, and without native access.
    static Optional<MethodHandle> find(String name, FunctionDescriptor type) {
        if (!System.getProperty("os.name", "").equals("Linux")) {
            return Optional.empty();
        }
        Linker linker = Linker.nativeLinker();
        try {
            return linker.defaultLookup().find(name).map(function -> linker.downcallHandle(function, type));
        } catch (IllegalCallerException e) {
            return Optional.empty(); // the process was started without native access
        }
    }
}
