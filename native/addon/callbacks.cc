#include "addon/callbacks.h"

namespace colo::addon {

// Not by FunctionReference::MakeCallback: when a worker is being terminated the call fails without
// an exception, and that must be ignored rather than be turned into one.
void Callback::deliver(Napi::Env env, const Napi::AsyncContext& context,
                       std::initializer_list<napi_value> args) const {
  if (ref_.IsEmpty()) return;
  napi_value ignored;
  napi_status status = napi_make_callback(env, context, env.Global(), ref_.Value(), args.size(),
                                          args.begin(), &ignored);
  if (status != napi_pending_exception) return;
  napi_value thrown;
  if (napi_get_and_clear_last_exception(env, &thrown) == napi_ok) napi_fatal_exception(env, thrown);
}

}  // namespace colo::addon
