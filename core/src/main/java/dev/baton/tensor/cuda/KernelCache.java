package dev.baton.tensor.cuda;

import dev.baton.tensor.TensorException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// What a device needs at each start and what takes time to make, on disk: compiled kernels and the choice of
/// algorithms for products. One file each, named by the digest of all that it is made from. A file begins with
/// the digest of its contents, so that a damaged one is made again. A folder that cannot be written to costs
/// the time of making it, nothing else.
///
/// Safe to use from several threads and processes.
final class KernelCache {
    private static final Logger LOG = LoggerFactory.getLogger(KernelCache.class);
    private static final int DIGEST_BYTES = 32;

    private final Path folder;

    KernelCache(Path folder) {
        this.folder = folder;
    }

    /// The user's cache: `baton/kernels` under `XDG_CACHE_HOME`, or under `.cache` at home.
    static KernelCache ofUser(Map<String, String> environment) {
        String cache = environment.getOrDefault("XDG_CACHE_HOME", "");
        Path root = cache.isEmpty() ? Path.of(System.getProperty("user.home", "."), ".cache") : Path.of(cache);
        return new KernelCache(root.resolve("baton").resolve("kernels"));
    }

    /// What the code of a source depends on, in hexadecimal.
    ///
    /// @param headers name to text
    /// @param compiler the compiler's version
    static String key(String source, Map<String, String> headers, List<String> options, String compiler) {
        MessageDigest sha = sha256();
        add(sha, compiler);
        options.forEach(option -> add(sha, option));
        new TreeMap<>(headers).forEach((name, text) -> {
            add(sha, name);
            add(sha, text);
        });
        add(sha, source);
        return HexFormat.of().formatHex(sha.digest());
    }

    /// With its length, so that no two lists of texts run together to the same bytes.
    private static void add(MessageDigest sha, String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        sha.update((bytes.length + ":").getBytes(StandardCharsets.UTF_8));
        sha.update(bytes);
    }

    /// The code of a key, if it is there and whole.
    Optional<byte[]> read(String key) {
        try {
            byte[] file = Files.readAllBytes(file(key));
            byte[] code =
                    file.length < DIGEST_BYTES ? new byte[0] : Arrays.copyOfRange(file, DIGEST_BYTES, file.length);
            boolean isWhole =
                    code.length > 0 && Arrays.equals(sha256().digest(code), Arrays.copyOf(file, DIGEST_BYTES));
            return isWhole ? Optional.of(code) : Optional.empty();
        } catch (IOException e) {
            return Optional.empty(); // not there
        }
    }

    /// Keeps code under a key, whole or not at all.
    void write(String key, byte[] code) {
        try {
            Files.createDirectories(folder);
            Path part = Files.createTempFile(folder, key.substring(0, 8), ".part");
            byte[] file = Arrays.copyOf(sha256().digest(code), DIGEST_BYTES + code.length);
            System.arraycopy(code, 0, file, DIGEST_BYTES, code.length);
            Files.write(part, file);
            Files.move(part, file(key), StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException e) {
            LOG.warn("what was made for this device cannot be kept in {}: {}", folder, e.toString());
        }
    }

    private Path file(String key) {
        return folder.resolve(key + ".cubin");
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new TensorException("this Java runtime lacks SHA-256, which every Java runtime must have", e);
        }
    }
}
