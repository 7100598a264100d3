/* cmd/ctl/verbs.h: the verbs of the table in ctl.c. */
#ifndef CORACLE_CMD_CTL_VERBS_H
#define CORACLE_CMD_CTL_VERBS_H

struct ctl;

/* list.c */
int verb_ps(struct ctl *ctl, int argc, char **argv);
int verb_pods(struct ctl *ctl, int argc, char **argv);
int verb_images(struct ctl *ctl, int argc, char **argv);
/* transfer.c */
int verb_pull(struct ctl *ctl, int argc, char **argv);
int verb_import(struct ctl *ctl, int argc, char **argv);

int verb_run(struct ctl *ctl, int argc, char **argv);
int verb_exec(struct ctl *ctl, int argc, char **argv);
int verb_logs(struct ctl *ctl, int argc, char **argv);
int verb_stats(struct ctl *ctl, int argc, char **argv);
int verb_events(struct ctl *ctl, int argc, char **argv);
/* removal.c */
int verb_stop(struct ctl *ctl, int argc, char **argv);
int verb_rm(struct ctl *ctl, int argc, char **argv);
int verb_dump(struct ctl *ctl, int argc, char **argv);

#endif
