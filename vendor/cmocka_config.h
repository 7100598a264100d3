/* vendor/cmocka_config.h: what both of our C libraries offer to cmocka. */
#ifndef CORACLE_VENDOR_CMOCKA_CONFIG_H
#define CORACLE_VENDOR_CMOCKA_CONFIG_H

#define HAVE_CLOCK_GETTIME            1
#define HAVE_CLOCK_REALTIME           1
#define HAVE_GCC_THREAD_LOCAL_STORAGE 1
#define HAVE_INTTYPES_H               1
#define HAVE_MALLOC_H                 1
#define HAVE_SETJMP_H                 1
#define HAVE_SIGNAL_H                 1
#define HAVE_SNPRINTF                 1
#define HAVE_STDINT_H                 1
#define HAVE_STRSIGNAL                1
#define HAVE_STRUCT_TIMESPEC          1
#define HAVE_TIME_H                   1
#define HAVE_UNISTD_H                 1
#define HAVE_VSNPRINTF                1

#endif
