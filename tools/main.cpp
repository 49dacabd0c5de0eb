#include <cstdio>
#include <new>
#include <sstream>

#include <malloc.h>

#include "tools/verbs.h"

int main(int argc, char** argv) {
  using namespace steelyard;
  // Large blocks go back to the system. Left alone, the C library keeps the more of them the longer training runs, and
  // what --dry-run says of memory would be too little.
  constexpr int kLarge = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, kLarge);
  const auto complain = [](const char* what) { std::fprintf(stderr, "steelyard: %s\n", what); };
  CLI::App app("Steelyard: relevance, user models and prioritised goals for e-commerce search", "steelyard");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string(STEELYARD_VERSION));
  app.footer("`steelyard VERB --help` tells more.\nExample: steelyard demo --out demo");
  for (auto add : {add_demo, add_market, add_train, add_update, add_evaluate, add_score, add_encode,
                   add_recommend, add_explain, add_index, add_search, add_inspect, add_verify})
    add(app);
  try {
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
      fail(Fault::usage, "this processor lacks AVX2 or FMA; build with -DSTEELYARD_ARCH=x86-64 for it");
    if (argc > 1 && argv[1][0] != '-') {
      std::string verbs;
      bool known = false;
      for (const CLI::App* verb : app.get_subcommands({})) {
        verbs += " " + verb->get_name();
        known = known || verb->get_name() == argv[1];
      }
      if (!known) fail(Fault::usage, "unknown verb \"", argv[1], "\"; expected one of", verbs);
    }
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& e) {  // --help, --version
      std::ostringstream page;
      app.exit(e, page, page);
      Output out;
      out << page.str();
      out.flush();
    }
    return 0;
  } catch (const CLI::ParseError& e) {
    complain(e.what());
    return static_cast<int>(Fault::usage);
  } catch (const Error& e) {
    complain(e.what());
    return static_cast<int>(e.fault);
  } catch (const std::filesystem::filesystem_error& e) {
    complain(
        text(e.path1().string(), ": ", e.code().message(), "; expected a path that can be used").c_str());
    return static_cast<int>(Fault::usage);
  } catch (const std::bad_alloc&) {
    complain("out of memory");
    return static_cast<int>(Fault::resources);
  } catch (const std::exception& e) {
    complain(text("a bug in Steelyard, please report: ", e.what()).c_str());
    return static_cast<int>(Fault::bug);
  }
}
