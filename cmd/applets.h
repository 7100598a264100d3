/* cmd/applets.h
 *
 * The programs of the table in applet.c that have a file of their own.
 */
#ifndef CORACLE_CMD_APPLETS_H
#define CORACLE_CMD_APPLETS_H

int applet_daemon(int argc, char **argv);
int applet_recover(int argc, char **argv);
int applet_ctl(int argc, char **argv);
int applet_check(int argc, char **argv);
int applet_migrate_config(int argc, char **argv);

#endif
