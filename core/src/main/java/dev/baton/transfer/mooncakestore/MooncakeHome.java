package dev.baton.transfer.mooncakestore;

import dev.baton.tensor.PythonPath;
import dev.baton.transfer.Exposure;
import dev.baton.transfer.TransferException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// Finds what speaks to a Mooncake cluster. Stateless.
final class MooncakeHome {
    private static final String LIBRARY = "libmooncake_store.so";
    private static final String PACKAGE = "mooncake";
    private static final Path PYTHON = Path.of("python3");

    private MooncakeHome() {}

    /// Looks in `mooncake_home` or `MOONCAKE_HOME`, else in the packages of the `python3` on the PATH: first
    /// for Mooncake's library, then for its Python package. The folder may be that of the library, the prefix
    /// that it was installed under, or a virtual environment. An instance that only reads needs neither.
    ///
    /// @param who asks, for refusals
    /// @param writes whether values will be put
    /// @param threads calls at a time
    /// @throws TransferException if there is nothing that can do that, or it would listen beyond this machine
    static ObjectStore.Opener find(String who, MooncakeAccess access, boolean writes, int threads) {
        ObjectStore.Opener found = look(who, access, writes, threads);
        if (found.writes()) { // through Mooncake's library, which listens; plain reads only ask
            Exposure.check("Mooncake's library in " + who, access.host(), access.trustedNetwork());
        }
        return found;
    }

    private static ObjectStore.Opener look(String who, MooncakeAccess access, boolean writes, int threads) {
        List<Path> folders = new ArrayList<>();
        access.home().ifPresentOrElse(folders::add, () -> folders.addAll(PythonPath.folders()));
        for (Path folder : folders) {
            for (Path place : List.of(folder, folder.resolve("lib"), folder.resolve(PACKAGE))) {
                Path library = place.resolve(LIBRARY);
                if (Files.isRegularFile(library)) {
                    return new NativeStore.Opener(
                            new NativeStore.Library(library),
                            access.cluster(),
                            access.host(),
                            access.startTimeout(),
                            access.operationTimeout());
                }
            }
        }
        Optional<Path> python =
                access.home().map(home -> home.resolve("bin").resolve(PYTHON)).filter(Files::isExecutable);
        if (access.home().isEmpty()
                && folders.stream()
                        .anyMatch(folder ->
                                Files.isRegularFile(folder.resolve(PACKAGE).resolve("store.so")))) {
            python = Optional.of(PYTHON);
        }
        if (python.isPresent()) {
            return new HelperStore.Opener(
                    python.get(),
                    access.cluster(),
                    access.host(),
                    threads,
                    access.startTimeout(),
                    access.operationTimeout());
        }
        if (!writes) {
            return new PlainStore.Opener(access);
        }
        throw new TransferException(
                "%s: there is neither %s nor a Python with the package mooncake in %s; install mooncake-transfer-engine"
                                .formatted(
                                        who,
                                        LIBRARY,
                                        access.home()
                                                .map(Path::toString)
                                                .orElse("the packages of the python3 on the PATH"))
                        + " (mooncake-transfer-engine-non-cuda without a GPU) from PyPI, or set mooncake_home in"
                        + " kv_connector_extra_config (or MOONCAKE_HOME); kv_consumer, which only reads, needs neither");
    }
}
