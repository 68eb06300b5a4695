#ifndef AL_RECORD_STREAM_H
#define AL_RECORD_STREAM_H

/* Once in a process's life, before its first event: asks to be told when threads exit. */
void al_streams_prepare(void);

#endif
