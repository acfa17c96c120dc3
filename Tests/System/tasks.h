// How many threads the process has.
#ifndef TASKS_H
#define TASKS_H

#include <dirent.h>

static int tasks(void) {
  int count = 0;
  DIR *folder = opendir("/proc/self/task");
  for (struct dirent *entry; (entry = readdir(folder));) count += entry->d_name[0] != '.';
  closedir(folder);
  return count;
}

#endif
