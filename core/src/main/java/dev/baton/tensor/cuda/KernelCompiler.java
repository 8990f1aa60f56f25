package dev.baton.tensor.cuda;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.checked.Nvrtc;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.tensor.cuda.owned.KernelModule;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.stream.Collectors;

/// Turns the kernels' sources, which are resources of this package, into modules on the device: out of the
/// cache, or by compiling all that are missing at the same time.
final class KernelCompiler {
    private static final String FOLDER = "kernels/";
    private static final List<String> HEADERS = List.of("common.cuh", "attention_decode.cuh", "norm.cuh");

    private final Context context;
    private final Nvrtc nvrtc;
    private final KernelCache cache;
    private final Map<String, String> headers =
            HEADERS.stream().collect(Collectors.toMap(Function.identity(), KernelCompiler::source));

    KernelCompiler(Context context, Nvrtc nvrtc, KernelCache cache) {
        this.context = context;
        this.nvrtc = nvrtc;
        this.cache = cache;
    }

    /// A source of the kernels' folder.
    static String source(String file) {
        try (InputStream in = KernelCompiler.class.getResourceAsStream(FOLDER + file)) {
            if (in == null) {
                throw new TensorException("the jar lacks the kernels' source " + file);
            }
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// What NVRTC is told.
    ///
    /// @param architecture for example `sm_90a`
    /// @param macros name to value
    static List<String> options(String architecture, Map<String, Integer> macros) {
        List<String> options =
                new ArrayList<>(List.of("--gpu-architecture=" + architecture, "--std=c++17", "-default-device"));
        new TreeMap<>(macros).forEach((name, value) -> options.add("-D" + name + "=" + value));
        return List.copyOf(options);
    }

    /// Compiles and loads. All of them, or none stays loaded.
    ///
    /// @param files names of sources, with `.cu`
    /// @return the modules by their file
    Map<String, KernelModule> load(List<String> files, Map<String, Integer> macros) {
        List<String> options = options(context.info().architecture(), macros);
        String version = nvrtc.version();
        Map<String, KernelModule> modules = new TreeMap<>();
        try {
            // Compilation needs no context, so that any thread may do it; loading does.
            record Compiled(String file, byte[] code) {}
            files.parallelStream()
                    .map(file -> new Compiled(file, compile(file, options, version)))
                    .toList()
                    .forEach(it -> modules.put(it.file, new KernelModule(context, it.file, it.code)));
            return modules;
        } catch (RuntimeException | Error e) {
            modules.values().forEach(KernelModule::close);
            throw e;
        }
    }

    private byte[] compile(String file, List<String> options, String version) {
        String source = source(file);
        String key = KernelCache.key(source, headers, options, version);
        Optional<byte[]> kept = cache.read(key);
        if (kept.isPresent()) {
            return kept.get();
        }
        byte[] code = nvrtc.compile(file, source, headers, options);
        cache.write(key, code);
        return code;
    }
}
