{
  # Sources are listed one by one: what is not here is not in the product.
  'variables': {
    'our_warnings': ['-Wall', '-Wextra', '-Werror'],
  },
  'target_defaults': {
    'default_configuration': 'Release',
  },
  'targets': [
    {
      'target_name': 'colo',
      'sources': [
        'addon/addon.cc',
        'addon/backend.cc',
        'addon/callbacks.cc',
        'addon/files.cc',
        'addon/guest_ram.cc',
        'addon/main_loop.cc',
        'addon/tap.cc',
        'addon/vcpu.cc',
        'addon/vm.cc',
        'base/assert.cc',
        'memory/hash.cc',
        'memory/ram.cc',
        'vcpu/clock.cc',
        'vcpu/doorbells.cc',
        'vcpu/exits.cc',
        'vcpu/image.cc',
        'vcpu/runner.cc',
        'vcpu/signal.cc',
        'vcpu/thread.cc',
        'vcpu/timer.cc',
      ],
      'include_dirs': ['.'],
      'defines': ['NAPI_VERSION=8'],
      'dependencies': ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except_all"],
      # -O2 with symbols: a crash in the field must be readable. node-gyp's own -O3 and standard are taken out first.
      'cflags!': ['-O3'],
      'cflags_cc!': ['-std=gnu++17', '-O3'],
      'cflags_cc': ['-std=gnu++20', '-O2', '-g', '-mcx16', '-fvisibility=hidden', '<@(our_warnings)'],
    },
  ],
}
