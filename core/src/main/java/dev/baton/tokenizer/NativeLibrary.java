package dev.baton.tokenizer;

import ai.djl.engine.EngineException;
import ai.djl.huggingface.tokenizers.jni.LibUtils;
import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The native Hugging Face tokenizers library that DJL ships inside its jar, unpacked once per user.
///
/// DJL writes it to a temporary folder first and renames that, so several processes may start at once. Its own
/// defaults are not taken: on a machine with a GPU it would look for a CUDA build on the network, and it would
/// write to the home folder itself. `DJL_CACHE_DIR` (environment or system property) names another place.
final class NativeLibrary {
    private static final Logger LOG = LoggerFactory.getLogger(NativeLibrary.class);

    private NativeLibrary() {}

    /// Loads the library where that has not happened yet.
    static synchronized TokenizersLibrary load() {
        setDefault("RUST_FLAVOR", "cpu");
        if (!isSet("DJL_CACHE_DIR") && !isSet("ENGINE_CACHE_DIR")) {
            System.setProperty("DJL_CACHE_DIR", cacheDirectory().toString());
        }
        try {
            LibUtils.checkStatus();
            return TokenizersLibrary.LIB;
        } catch (EngineException | LinkageError e) {
            throw new TokenizerException(
                    "the native tokenizers library for " + System.getProperty("os.name") + " "
                            + System.getProperty("os.arch") + " could not be unpacked to "
                            + System.getProperty("DJL_CACHE_DIR", System.getenv("DJL_CACHE_DIR"))
                            + " and loaded: set DJL_CACHE_DIR to a folder that can be written and holds executable files",
                    e);
        }
    }

    private static boolean isSet(String name) {
        return System.getenv(name) != null || System.getProperty(name) != null;
    }

    private static void setDefault(String name, String value) {
        if (!isSet(name)) {
            System.setProperty(name, value);
        }
    }

    private static Path cacheDirectory() {
        Path directory = userCache().resolve("baton").resolve("natives");
        try {
            Files.createDirectories(directory);
            if (Files.isWritable(directory)) {
                return directory;
            }
        } catch (IOException e) {
            LOG.debug("cannot create {}", directory, e);
        }
        return temporaryDirectory(directory);
    }

    private static Path userCache() {
        String system = System.getProperty("os.name", "").toLowerCase(Locale.ROOT);
        String configured = System.getenv(system.startsWith("windows") ? "LOCALAPPDATA" : "XDG_CACHE_HOME");
        if (configured != null && !configured.isEmpty()) {
            return Path.of(configured);
        }
        Path home = Path.of(System.getProperty("user.home", "."));
        return system.startsWith("mac") ? home.resolve("Library").resolve("Caches") : home.resolve(".cache");
    }

    /// A folder of this process alone: a shared temporary folder with a name that others can guess is no place
    /// to load code from.
    private static Path temporaryDirectory(Path unusable) {
        try {
            Path directory = Files.createTempDirectory("baton-natives-");
            LOG.warn(
                    "{} cannot be written: unpacking the tokenizers library to {} for this process alone;"
                            + " set DJL_CACHE_DIR to keep it",
                    unusable,
                    directory);
            Runtime.getRuntime().addShutdownHook(new Thread(() -> delete(directory.toFile()), "natives-cleanup"));
            return directory;
        } catch (IOException e) {
            throw new TokenizerException(
                    "no folder to unpack the tokenizers library to: set DJL_CACHE_DIR to one that can be written", e);
        }
    }

    private static void delete(File file) {
        File[] children = file.listFiles();
        if (children != null) {
            for (File child : children) {
                delete(child);
            }
        }
        if (!file.delete()) {
            LOG.debug("{} could not be deleted", file);
        }
    }
}
